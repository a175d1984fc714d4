// SPDX-License-Identifier: GPL-2.0-only
/*
 * arm64: writing jumps.
 *
 * A jump is one b, which is written as a whole: whoever executes that place meanwhile finds
 * the old instruction or the new one. It reaches 128 MiB, and modules may be 2 GiB from the
 * kernel. So every jump leads to an island beside the kernel's image, which goes on to the
 * module's function. Islands are made when a module is loaded; nothing sleeps in one, as
 * nothing is called there, and the kernel switches at calls only.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/kprobes.h>
#include <linux/preempt.h>
#include <linux/set_memory.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <asm/barrier.h>
#include <asm/cacheflush.h>
#include <asm/sections.h>
#include <asm/patching.h>

#include "plugsched.h"

#ifdef CONFIG_PREEMPTION
#error "a task could sleep in an island, and with a frame record half made"
#endif

#define INSN_SIZE	4
#define INSN_B		0x14000000
#define INSN_B_MASK	0xfc000000
#define INSN_B_DISTANCE	0x03ffffff
#define INSN_BRK	0xd4200000
#define INSN_BRK_MASK	0xffe0001f
#define B_REACH		SZ_128M

const unsigned int plugsched_jump_size = 4;
const unsigned int plugsched_poke_phases = 1;

/* The loader's veneers use x16 too: no function expects anything in it (AAPCS64, 6.1.1). */
struct island {
	__le32 adrp, add, br;
};

static struct island *islands;

static unsigned long islands_size(void)
{
	return PAGE_ALIGN(plugsched_nr_redirects * sizeof(*islands));
}

/* adrp x16, to; add x16, x16, :lo12:to; br x16. False: it is too far away. */
static bool make_island(struct island *at, const u8 *to)
{
	s64 pages = ((s64)((unsigned long)to & PAGE_MASK) - (s64)((unsigned long)at & PAGE_MASK))
		    / SZ_4K;
	u32 low = (unsigned long)to & (SZ_4K - 1);

	BUILD_BUG_ON(PAGE_SIZE != SZ_4K);
	if (pages != sign_extend64(pages, 20))
		return false;
	at->adrp = cpu_to_le32(0x90000010 | (pages & 3) << 29 | (pages >> 2 & 0x7ffff) << 5);
	at->add = cpu_to_le32(0x91000210 | low << 10);
	at->br = cpu_to_le32(0xd61f0200);
	return true;
}

static struct island *map_between(unsigned long start, unsigned long end)
{
	return __vmalloc_node_range(islands_size(), PAGE_SIZE, start, end, GFP_KERNEL,
				    PAGE_KERNEL, 0, NUMA_NO_NODE, __builtin_return_address(0));
}

/* Below the image, or above it, within the reach of all of its functions. */
static struct island *map_islands(void)
{
	unsigned long text = (unsigned long)_stext, end = (unsigned long)_end;
	struct island *at = map_between(end - B_REACH, text);

	return at ?: map_between(end, text + B_REACH);
}

/* Context: process, may sleep. Nothing leads to the islands. */
static void free_islands(void)
{
	unsigned long at = (unsigned long)islands;
	int pages = islands_size() >> PAGE_SHIFT;
	unsigned long i;

	if (!islands)
		return;
	for (i = 0; i < plugsched_nr_redirects; i++)
		plugsched_redirects[i].via = NULL;
	set_memory_nx(at, pages);
	set_memory_rw(at, pages);
	vfree(islands);
	islands = NULL;
}

int plugsched_arch_init(void)
{
	unsigned long i;
	int err;

	islands = map_islands();
	if (!islands) {
		pr_err("there is no room within 128 MiB of the kernel's text\n");
		return -ENOMEM;
	}
	for (i = 0; i < plugsched_nr_redirects; i++) {
		struct plugsched_redirect *r = &plugsched_redirects[i];

		if (!make_island(&islands[i], r->new)) {
			pr_err("the module is more than 4 GiB from the kernel\n");
			free_islands();
			return -ERANGE;
		}
		r->via = (u8 *)&islands[i];
	}
	caches_clean_inval_pou((unsigned long)islands, (unsigned long)islands + islands_size());
	err = set_memory_ro((unsigned long)islands, islands_size() >> PAGE_SHIFT) ?:
	      set_memory_x((unsigned long)islands, islands_size() >> PAGE_SHIFT);
	if (err)
		free_islands();
	return err;
}

void plugsched_arch_exit(void)
{
	free_islands();
}

static u32 insn_at(const u8 *site)
{
	return le32_to_cpu(READ_ONCE(*(const __le32 *)site));
}

/* Another patcher's jump leads out of the kernel's text; its own stay inside. */
static bool foreign_jump(const u8 *site)
{
	u32 insn = insn_at(site);

	return (insn & INSN_B_MASK) == INSN_B &&
	       !core_kernel_text((unsigned long)site +
				 sign_extend64(insn & INSN_B_DISTANCE, 25) * INSN_SIZE);
}

/* A kprobe there would later restore the instruction. */
static bool probed(const u8 *site)
{
	bool found = false;
#ifdef CONFIG_KPROBES

	preempt_disable();
	found = get_kprobe((void *)site);
	preempt_enable();
#endif
	return found;
}

static bool is_brk(u32 insn)
{
	return (insn & INSN_BRK_MASK) == INSN_BRK;
}

bool plugsched_arch_hooked(const struct plugsched_redirect *r, const u8 *site)
{
	return foreign_jump(site) || probed(site) ||
	       (is_brk(insn_at(site)) && !is_brk(insn_at(r->shipped)));
}

void plugsched_arch_jump(const struct plugsched_redirect *r, u8 *insn)
{
	s64 distance = r->via - (r->old + r->offset);
	__le32 b = cpu_to_le32(INSN_B | (distance / INSN_SIZE & INSN_B_DISTANCE));

	memcpy(insn, &b, sizeof(b));
}

/*
 * Without an alias the kernel's own way is taken. Its lock is taken with interrupts off: nobody
 * holds it while the machine is stopped.
 */
void plugsched_arch_poke(u8 *site, u8 *alias, const u8 *insn, unsigned int phase)
{
	__le32 word;

	memcpy(&word, insn, sizeof(word));
	if (!alias) {
		aarch64_insn_patch_text_nosync(site, le32_to_cpu(word));
		return;
	}
	WRITE_ONCE(*(__le32 *)alias, word);
	caches_clean_inval_pou((unsigned long)site, (unsigned long)site + sizeof(word));
}

/* Write all instructions that are prepared. Context: stopped machine. */
void plugsched_arch_write(const struct plugsched_write *w, unsigned long nr, unsigned int phase)
{
	const struct plugsched_write *end = w + nr;

	for (; w < end; w++)
		plugsched_arch_poke(w->site, w->alias, w->is, phase);
}

/* Whether nobody has written there meanwhile. Context: stopped machine. */
bool plugsched_arch_unchanged(const struct plugsched_write *w, unsigned long nr)
{
	const struct plugsched_write *end = w + nr;

	for (; w < end; w++)
		if (memcmp(w->site, w->was, INSN_SIZE))
			return false;
	return true;
}

void plugsched_arch_sync(void)
{
	isb();
}
