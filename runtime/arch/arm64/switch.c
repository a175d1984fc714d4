// SPDX-License-Identifier: GPL-2.0-only
/*
 * arm64: the context switch. springboard.S is generated from the kernel at hand.
 */
#include <linux/percpu.h>

#include "plugsched.h"

/*
 * The frame that plugsched_schedule built last on this CPU. It is used up before
 * the CPU enters __schedule again: preemption is off from one to the other.
 */
DEFINE_PER_CPU(unsigned long, plugsched_frame);
