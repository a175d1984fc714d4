// SPDX-License-Identifier: GPL-2.0-only
/* x86: the stack of a task that does not run. */
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/stacktrace.h>
#include <asm/unwind.h>

#include "plugsched.h"

unsigned long *plugsched_arch_stack(struct task_struct *p)
{
	return (unsigned long *)READ_ONCE(p->thread.sp);
}

unsigned long plugsched_arch_code(unsigned long word)
{
	return word;
}

#ifdef CONFIG_UNWINDER_ORC
/*
 * What code of BPF begins with: a landing instruction, and a call of who traces it
 * (bpf_jit_comp.c, emit_prologue).
 */
#define BPF_HOOK_SIZE	(4 + 5)

/*
 * Whether a frame is that of generated code of BPF, behind a call. ORC knows nothing of
 * it and takes it for one with a frame pointer (unwind_orc.c, orc_fp_entry), which the
 * JIT compiler always makes, but behind the hook only: what is traced itself is in the
 * hook's call without one. Older kernels (6.12) trust no stack with such a frame, newer
 * ones (7.3) by the same rule (bpf_has_frame_pointer()).
 */
static bool has_bpf_frame(const struct unwind_state *state)
{
	return !state->signal && is_bpf_text_address(state->ip - 1 - BPF_HOOK_SIZE);
}

/* Go on to the next frame; an error that is only about code of BPF is none. */
static int next_frame(struct unwind_state *state)
{
	bool bpf = has_bpf_frame(state);

	unwind_next_frame(state);
	if (!unwind_error(state))
		return 0;
	if (unwind_done(state) || !bpf)
		return -EINVAL;
	state->error = false;
	return 0;
}

static int walk(struct task_struct *p, unsigned long *stack, unsigned int size)
{
	struct unwind_state state;
	unsigned int nr = 0;

	unwind_start(&state, p, NULL, NULL);
	if (unwind_error(&state))
		return -EINVAL;
	while (!unwind_done(&state)) {
		struct pt_regs *regs = unwind_get_entry_regs(&state, NULL);

		if (regs && user_mode(regs))
			return nr;
		if (nr == size)
			return -E2BIG;
		stack[nr] = unwind_get_return_address(&state);
		if (!stack[nr++] || next_frame(&state))
			return -EINVAL;
	}
	return nr;
}
#else
static int walk(struct task_struct *p, unsigned long *stack, unsigned int size)
{
	return -EINVAL;
}
#endif

int plugsched_arch_stack_trace(struct task_struct *p, unsigned long *stack, unsigned int size)
{
	int nr = stack_trace_save_tsk_reliable(p, stack, size);

	if (nr >= 0 || !try_get_task_stack(p))
		return nr;
	nr = walk(p, stack, size);
	put_task_stack(p);
	return nr;
}
