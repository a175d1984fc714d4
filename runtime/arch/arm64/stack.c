// SPDX-License-Identifier: GPL-2.0-only
/*
 * arm64: the stack of a task that does not run.
 *
 * These kernels have no reliable unwinder, but a function that calls has a frame record, made
 * before its first call (-fno-omit-frame-pointer), and a task leaves the CPU at calls only. So
 * the records are all return addresses, as far as they are a chain that ends where the kernel
 * makes its last one. Whether it is so init has looked up in all of the kernel's code. Functions
 * where it is not, some of assembly, are listed: who called them is in no record. Of another kind
 * is code that was interrupted by a fault, and sleeps in its handling: what it was at, and its
 * link register, are in the registers that the entry saved. A chain that is not like this in any
 * way gives no answer.
 */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/memory.h>
#include <asm/processor.h>

#include "plugsched.h"

/* Functions of the kernel, by address (internal/kernel/image/records.go). */
struct plugsched_unframed {
	unsigned long start, size;
};

static_assert(sizeof(struct plugsched_unframed) == 2 * 8);

extern const struct plugsched_unframed plugsched_unframed[];
extern const unsigned long plugsched_nr_unframed;

#ifdef CONFIG_SHADOW_CALL_STACK
#error "return addresses are on another stack, too"
#endif

/* arch/arm64/kernel/vmlinux.lds.S: what the vectors lead to. */
extern char __entry_text_start[], __entry_text_end[];

#define RECORD_ALIGN	16
#define KERNEL_ADDRESS	BIT(55)	/* selects the kernel's page tables, whatever a signature is */

unsigned long *plugsched_arch_stack(struct task_struct *p)
{
	return (unsigned long *)READ_ONCE(p->thread.cpu_context.sp);
}

/* Without its signature, if it has one; 0 if it is no address of the kernel's. */
unsigned long plugsched_arch_code(unsigned long word)
{
	return word & KERNEL_ADDRESS ? word | GENMASK(63, vabits_actual) : 0;
}

struct walk {
	struct task_struct *task;
	unsigned long low, high;	/* records are in here, and low rises */
	unsigned long record;		/* the next one */
	unsigned long *stack;
	unsigned int nr, size;
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	int graph;
#endif
#ifdef CONFIG_KRETPROBES
	struct llist_node *kretprobe;
#endif
};

static unsigned long word_at(unsigned long addr)
{
	return READ_ONCE_NOCHECK(*(unsigned long *)addr);
}

static int note(struct walk *w, unsigned long addr)
{
	if (!addr)
		return -EINVAL;
	if (w->nr == w->size)
		return -E2BIG;
	w->stack[w->nr++] = addr;
	return 0;
}

/* The return address that a tracer keeps, if this is what it has put in its place. */
static unsigned long untraced(struct walk *w, unsigned long addr)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	if (addr == (unsigned long)return_to_handler) {
		addr = ftrace_graph_ret_addr(w->task, &w->graph, addr, (void *)w->record);
		if (addr == (unsigned long)return_to_handler)
			return 0;
	}
#endif
#ifdef CONFIG_KRETPROBES
	if (is_kretprobe_trampoline(addr))
		addr = kretprobe_find_ret_addr(w->task, (void *)w->record, &w->kretprobe);
#endif
	return addr;
}

static bool in_entry(unsigned long addr)
{
	return addr >= (unsigned long)__entry_text_start &&
	       addr < (unsigned long)__entry_text_end;
}

/* Take the next record. */
static int step(struct walk *w)
{
	unsigned long at = w->record, addr;

	if (at % RECORD_ALIGN || at < w->low || at > w->high - 2 * sizeof(long))
		return -EINVAL;
	w->low = at + 2 * sizeof(long);
	w->record = word_at(at);
	addr = untraced(w, plugsched_arch_code(word_at(at + sizeof(long))));
	return note(w, addr);
}

/*
 * The record of an exception's entry leads to the one in the registers that it saved. If they
 * are of the kernel, what was interrupted may not have made its record yet, and have its return
 * address in a register; if it has, that one is an old one, and harmless to note.
 */
static int cross(struct walk *w, unsigned long final)
{
	struct pt_regs *regs = (void *)w->record - offsetof(struct pt_regs, stackframe);

	if (w->record == final)
		return 0;
	if ((unsigned long)regs < w->low || (unsigned long)(regs + 1) > w->high)
		return -EINVAL;
	return note(w, plugsched_arch_code(word_at((unsigned long)&regs->pc))) ?:
	       note(w, untraced(w, plugsched_arch_code(word_at((unsigned long)&regs->regs[30]))));
}

/* Whether a return address is in a function that called without a record of its own. */
static bool unframed(unsigned long addr)
{
	unsigned long lo = 0, hi = plugsched_nr_unframed;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;
		const struct plugsched_unframed *f = &plugsched_unframed[mid];

		if (addr < f->start)
			hi = mid;
		else if (addr >= f->start + f->size)
			lo = mid + 1;
		else
			return true;
	}
	return false;
}

static int walk(struct task_struct *p, unsigned long *stack, unsigned int size)
{
	unsigned long final = (unsigned long)task_pt_regs(p)->stackframe;
	struct walk w = {
		.task = p,
		.low = READ_ONCE(p->thread.cpu_context.sp),
		.high = (unsigned long)task_stack_page(p) + THREAD_SIZE,
		.record = READ_ONCE(p->thread.cpu_context.fp),
		.stack = stack,
		.size = size,
	};
	int err;

	if (w.low < (unsigned long)task_stack_page(p) || w.low > w.high)
		return -EINVAL;
	err = note(&w, READ_ONCE(p->thread.cpu_context.pc));
	while (!err && w.record != final) {
		err = step(&w);
		if (err)
			break;
		/*
		 * Behind the last record are no callers: ret_from_fork() is where threads begin. If
		 * there were any, they would have no record either, and are no scheduler's.
		 */
		if (in_entry(w.stack[w.nr - 1]))
			err = cross(&w, final);
		else if (w.record != final && unframed(w.stack[w.nr - 1]))
			err = -EINVAL;
	}
	if (err)
		return err;
	/* The last one is all zeros (kernel_entry, copy_thread()). */
	return word_at(final) || word_at(final + sizeof(long)) ? -EINVAL : w.nr;
}

int plugsched_arch_stack_trace(struct task_struct *p, unsigned long *stack, unsigned int size)
{
	int nr;

	if (!try_get_task_stack(p))
		return 0;
	nr = walk(p, stack, size);
	put_task_stack(p);
	return nr;
}
