/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scheduler's own declarations. Its sched.h relies on what its units include
 * before it.
 */
#ifndef PLUGSCHED_INTERNAL_H
#define PLUGSCHED_INTERNAL_H

#include <linux/sched/autogroup.h>
#include <linux/sched/clock.h>
#include <linux/sched/cputime.h>
#include <linux/sched/hotplug.h>
#include <linux/sched/isolation.h>
#include <linux/sched/posix-timers.h>
#include <linux/sched/rt.h>

#include "sched.h"

#endif /* PLUGSCHED_INTERNAL_H */
