// SPDX-License-Identifier: GPL-2.0-only
/*
 * x86: writing jumps.
 *
 * The machine is stopped, but an NMI may still run any function that is being
 * redirected. As in arch/x86/kernel/alternative.c, the first byte is an INT3
 * while the others change, and every CPU serialises between the steps. A CPU
 * that meets the INT3 goes on in the module's function: it is complete and loaded
 * in both directions, and the one that waits for us is never waited for.
 */
#include <linux/kdebug.h>
#include <linux/kprobes.h>
#include <linux/notifier.h>
#include <linux/preempt.h>
#include <linux/ptrace.h>
#include <linux/string.h>
#include <asm/sections.h>
#include <asm/sync_core.h>
#include <asm/text-patching.h>

#include "plugsched.h"

#define INT3	0xcc
#define JMP32	0xe9

const unsigned int plugsched_jump_size = 5;
#define JUMP_SIZE	5	/* the same as a constant: copies and comparisons are instructions */
static_assert(JUMP_SIZE <= PLUGSCHED_JUMP_MAX);
const unsigned int plugsched_poke_phases = 3;

/* Others set INT3s too, also where a jump is or was. Context: any, NMI included. */
static notrace int handle_int3(struct notifier_block *nb, unsigned long event, void *data)
{
	struct die_args *args = data;
	const struct plugsched_redirect *r;

	if (event != DIE_INT3 || !READ_ONCE(plugsched_self.poking) || !args->regs ||
	    user_mode(args->regs))
		return NOTIFY_DONE;
	r = plugsched_find_site(args->regs->ip - 1);
	if (!r)
		return NOTIFY_DONE;
	args->regs->ip = (unsigned long)r->new;
	return NOTIFY_STOP;
}
NOKPROBE_SYMBOL(handle_int3);

static struct notifier_block int3_notifier = {
	.notifier_call = handle_int3,
	.priority = INT_MAX,
};

int plugsched_arch_init(void)
{
	return register_die_notifier(&int3_notifier);
}

void plugsched_arch_exit(void)
{
	unregister_die_notifier(&int3_notifier);
}

/*
 * Another patcher's jump leads out of the kernel's text: to a kprobe's slot, or
 * to a module. The kernel's own jumps stay inside; it rewrites some of them at
 * boot (arch/x86/kernel/alternative.c, apply_returns()), so that a comparison
 * with the shipped bytes would be wrong.
 */
static bool foreign_jump(const u8 *site)
{
	s32 rel;

	if (site[0] != JMP32)
		return false;
	memcpy(&rel, site + 1, sizeof(rel));
	return !core_kernel_text((unsigned long)site + plugsched_jump_size + rel);
}

/* A kprobe on any byte of the site would later restore that byte. */
static bool probed(const u8 *site)
{
	bool found = false;
#ifdef CONFIG_KPROBES
	unsigned int i;

	preempt_disable();
	for (i = 0; i < plugsched_jump_size; i++)
		found |= !!get_kprobe((void *)(site + i));
	preempt_enable();
#endif
	return found;
}

bool plugsched_arch_hooked(const struct plugsched_redirect *r, const u8 *site)
{
	return foreign_jump(site) || probed(site) || (site[0] == INT3 && r->shipped[0] != INT3);
}

void plugsched_arch_jump(const struct plugsched_redirect *r, u8 *insn)
{
	s32 rel = r->new - (r->old + r->offset + plugsched_jump_size);

	insn[0] = JMP32;
	memcpy(insn + 1, &rel, sizeof(rel));
}

/*
 * Write to the kernel's text, through alias when it is mapped there: of a constant size, one
 * instruction. Context: stopped machine. text_poke_kgdb() is text_poke() for a machine that
 * stands still and a caller who could not take text_mutex: nobody can be inside of it, and it
 * waits for no other CPU, since none uses its page tables.
 */
static __always_inline void write_text(void *to, void *alias, const void *from, size_t size)
{
	if (alias)
		memcpy(alias, from, size);
	else
		text_poke_kgdb(to, from, size);
}

/* One step of writing an instruction; all CPUs serialise between two steps. */
void plugsched_arch_poke(u8 *site, u8 *alias, const u8 *insn, unsigned int phase)
{
	static const u8 int3 = INT3;

	switch (phase) {
	case 0:
		write_text(site, alias, &int3, 1);
		break;
	case 1:
		write_text(site + 1, alias ? alias + 1 : NULL, insn + 1,
			   plugsched_jump_size - 1);
		break;
	case 2:
		write_text(site, alias, insn, 1);
		break;
	}
}

/* One step of writing all instructions that are prepared. Context: stopped machine. */
void plugsched_arch_write(const struct plugsched_write *w, unsigned long nr, unsigned int phase)
{
	const struct plugsched_write *end = w + nr;

	switch (phase) {
	case 0:
		for (; w < end; w++)
			w->alias[0] = INT3;
		break;
	case 1:
		for (; w < end; w++)
			memcpy(w->alias + 1, w->is + 1, JUMP_SIZE - 1);
		break;
	case 2:
		for (; w < end; w++)
			w->alias[0] = w->is[0];
		break;
	}
}

/* Whether nobody has written there meanwhile. Context: stopped machine. */
bool plugsched_arch_unchanged(const struct plugsched_write *w, unsigned long nr)
{
	const struct plugsched_write *end = w + nr;

	for (; w < end; w++)
		if (memcmp(w->site, w->was, JUMP_SIZE))
			return false;
	return true;
}

void plugsched_arch_sync(void)
{
	sync_core();
}
