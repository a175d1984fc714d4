// SPDX-License-Identifier: GPL-2.0-only
/*
 * Traps: code that must not run any more is filled with INT3. Who runs it all the
 * same is recorded, and goes on: the function's bytes are put back.
 *
 * All writing goes through a second mapping of the kernel's text, so that the bytes
 * can be put back in any context, NMIs included, without a lock.
 */
#define pr_fmt(fmt) "schedtest: trap: " fmt

#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/kdebug.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/sync_core.h>

#include "schedtest.h"

#define INT3		0xcc
#define LIST_MAX	(4U << 20)	/* bytes of a list */
#define HITS_MAX	32
#define STACK_MAX	16

enum { ARMED, RESTORED };

struct func {
	const char *name;
	unsigned int first;	/* index of its first range */
	unsigned int nr;	/* of its ranges, which are consecutive */
	atomic_t state;
};

struct trap_range {
	unsigned long start;
	unsigned long end;	/* behind the last byte */
	unsigned int func;	/* index */
	u8 *saved;
};

struct trap {
	char *text;		/* the list as written; names point into it */
	struct func *funcs;
	struct trap_range *ranges;	/* ascending */
	unsigned int nr_funcs;
	unsigned int nr_ranges;
	unsigned long bytes;	/* of all ranges */
	u8 *saved;
	u8 *alias;		/* a writable mapping of what is at base */
	unsigned long base;
	atomic_t arrived;
	atomic_t written;
};

/* Words, because a module may be gone when they are read. */
struct hit {
	char text[128 + STACK_MAX * 64];
	atomic_t complete;
};

/* Protects all of this but what the handler reads or counts. */
static DEFINE_MUTEX(trap_mutex);
static struct trap *trap;		/* what the handler looks at; NULL when there is none */
static unsigned int last_funcs;		/* of the last trap, for the reader */
static unsigned long last_bytes;

static struct hit hits[HITS_MAX];
static atomic_t nr_hits;

/* What is not exported. */
static struct mutex *kernel_text_mutex;
static unsigned long text_start, text_end;
static unsigned int (*save_stack_regs)(struct pt_regs *regs, unsigned long *store,
				       unsigned int size, unsigned int skip);
static int (*stop_cpus)(cpu_stop_fn_t fn, void *data, const struct cpumask *cpus);
static struct kprobe *(*kprobe_at)(void *addr);

static u8 *alias_of(const struct trap *t, unsigned long addr)
{
	return t->alias + (addr - t->base);
}

/*
 * Put a function's bytes back. Any context, on any number of CPUs at once: all
 * store the same. Another CPU may run into the function meanwhile. It must not see
 * an instruction whose first byte is back and a later one is not, hence from the
 * end to the start; x86 CPUs see each other's stores in order.
 */
static void restore(struct trap *t, struct func *f)
{
	unsigned int i;

	for (i = f->first + f->nr; i-- > f->first;) {
		const struct trap_range *r = &t->ranges[i];
		u8 *text = alias_of(t, r->start);
		unsigned long n = r->end - r->start;

		while (n--)
			WRITE_ONCE(text[n], r->saved[n]);
	}
}

static struct trap_range *find_range(const struct trap *t, unsigned long addr)
{
	unsigned int lo = 0, hi = t->nr_ranges;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;
		struct trap_range *r = &t->ranges[mid];

		if (addr < r->start)
			hi = mid;
		else if (addr >= r->end)
			lo = mid + 1;
		else
			return r;
	}
	return NULL;
}

/* Any context, NMIs included: finding symbols takes no locks. */
static void describe(struct hit *h, const struct func *f, unsigned long ip, struct pt_regs *regs)
{
	unsigned long stack[STACK_MAX];
	unsigned int nr = save_stack_regs(regs, stack, STACK_MAX, 0), i;
	size_t n;

	n = scnprintf(h->text, sizeof(h->text), "hit %s at %pS by %s[%d] on cpu %d\n", f->name,
		      (void *)ip, current->comm, current->pid, raw_smp_processor_id());
	for (i = 0; i < nr; i++)
		n += scnprintf(h->text + n, sizeof(h->text) - n, "\t%pS\n", (void *)stack[i]);
}

/* A hit while another is recorded, even below it on the stack, takes the next place. */
static void record(const struct func *f, unsigned long ip, struct pt_regs *regs)
{
	unsigned int i = atomic_inc_return(&nr_hits) - 1;

	if (i >= HITS_MAX)
		return;
	describe(&hits[i], f, ip, regs);
	atomic_set_release(&hits[i].complete, 1);
}

/*
 * Interrupts are off, and RCU is read-locked by the chain. The bytes come first:
 * whatever recording calls may be trapped itself.
 */
static int trap_event(struct notifier_block *nb, unsigned long event, void *data)
{
	struct pt_regs *regs = ((struct die_args *)data)->regs;
	unsigned long ip = instruction_pointer(regs) - 1;
	struct trap_range *r;
	struct trap *t;
	struct func *f;

	t = smp_load_acquire(&trap);	/* pairs with arm() */
	if (event != DIE_INT3 || !t || user_mode(regs))
		return NOTIFY_DONE;
	r = find_range(t, ip);
	if (!r)
		return NOTIFY_DONE;
	f = &t->funcs[r->func];
	/* An INT3 where ours is gone is somebody else's. */
	if (atomic_read_acquire(&f->state) == RESTORED && READ_ONCE(*(u8 *)ip) == INT3)
		return NOTIFY_DONE;
	restore(t, f);
	instruction_pointer_set(regs, ip);
	if (atomic_cmpxchg(&f->state, ARMED, RESTORED) == ARMED)
		record(f, ip, regs);
	return NOTIFY_STOP;
}

static struct notifier_block trap_notifier = {
	.notifier_call = trap_event,
	.priority = INT_MAX,
};

/* All CPUs are here, with interrupts off: none is inside of an instruction. */
static int arm_stopped(void *data)
{
	struct trap *t = data;
	unsigned int i;

	if (atomic_inc_return(&t->arrived) == 1) {
		for (i = 0; i < t->nr_ranges; i++) {
			const struct trap_range *r = &t->ranges[i];

			memset(alias_of(t, r->start), INT3, r->end - r->start);
		}
		atomic_set_release(&t->written, 1);
	}
	while (!atomic_read_acquire(&t->written))
		cpu_relax();
	sync_core();
	return 0;
}

/* A kprobe would later put back an instruction over the INT3, or the INT3 over it. */
static int check_unprobed(const struct trap_range *r)
{
	struct kprobe *p = NULL;
	unsigned long a;

	for (a = r->start; a < r->end && !p; a++) {
		preempt_disable();
		p = kprobe_at((void *)a);
		preempt_enable();
	}
	if (!p)
		return 0;
	pr_err("a kprobe is at %pS\n", (void *)(a - 1));
	return -EBUSY;
}

/* The text mutex keeps everybody else from changing code until the trap is set. */
static int arm(struct trap *t)
{
	u8 *saved = t->saved;
	unsigned int i;
	int err = 0;

	cpus_read_lock();
	mutex_lock(kernel_text_mutex);
	for (i = 0; i < t->nr_ranges && !err; i++) {
		struct trap_range *r = &t->ranges[i];

		err = check_unprobed(r);
		r->saved = saved;
		memcpy(saved, (void *)r->start, r->end - r->start);
		saved += r->end - r->start;
	}
	if (!err) {
		atomic_set(&nr_hits, 0);
		for (i = 0; i < HITS_MAX; i++)
			atomic_set(&hits[i].complete, 0);
		smp_store_release(&trap, t);	/* pairs with trap_event() */
		err = stop_cpus(arm_stopped, t, cpu_online_mask);
		if (err)
			WRITE_ONCE(trap, NULL);
	}
	mutex_unlock(kernel_text_mutex);
	cpus_read_unlock();
	return err;
}

static void do_sync_core(void *unused)
{
	sync_core();
}

static void free_trap(struct trap *t)
{
	if (t->alias)
		vunmap(t->alias);
	kvfree(t->saved);
	kvfree(t->ranges);
	kvfree(t->funcs);
	kvfree(t->text);
	kfree(t);
}

/* trap_mutex is held. */
static void disarm(void)
{
	struct trap *t = trap;
	unsigned int i;

	if (!t)
		return;
	mutex_lock(kernel_text_mutex);
	for (i = 0; i < t->nr_funcs; i++) {
		struct func *f = &t->funcs[i];

		if (atomic_read(&f->state) == RESTORED)
			continue;
		restore(t, f);
		atomic_cmpxchg(&f->state, ARMED, RESTORED);
	}
	mutex_unlock(kernel_text_mutex);
	/* A CPU that ran into a trap answers when it has left the handler. */
	on_each_cpu(do_sync_core, NULL, 1);
	WRITE_ONCE(trap, NULL);
	synchronize_rcu();
	free_trap(t);
}

static int map_text(struct trap *t)
{
	unsigned long first = t->ranges[0].start & PAGE_MASK;
	unsigned long end = PAGE_ALIGN(t->ranges[t->nr_ranges - 1].end);
	unsigned int n = (end - first) >> PAGE_SHIFT, i;
	struct page **pages = kvmalloc_array(n, sizeof(*pages), GFP_KERNEL);

	if (!pages)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		pages[i] = virt_to_page((void *)(first + i * PAGE_SIZE));
	t->alias = vmap(pages, n, VM_MAP, PAGE_KERNEL);
	t->base = first;
	kvfree(pages);
	return t->alias ? 0 : -ENOMEM;
}

/* One line, "NAME START LEN". Lines of one function follow each other. */
static int parse_line(struct trap *t, char *line)
{
	struct trap_range *r = &t->ranges[t->nr_ranges];
	struct func *f = t->nr_funcs ? &t->funcs[t->nr_funcs - 1] : NULL;
	char *name = strsep(&line, " "), *start = strsep(&line, " ");
	unsigned long len;

	if (!*name || !start || !line || kstrtoul(start, 16, &r->start) ||
	    kstrtoul(line, 16, &len) || !len) {
		pr_err("line %u is not NAME START LEN\n", t->nr_ranges + 1);
		return -EINVAL;
	}
	if (r->start < text_start || r->start >= text_end || len > text_end - r->start) {
		pr_err("%s: %lx is outside of the kernel's text\n", name, r->start);
		return -EFAULT;
	}
	if (t->nr_ranges && r->start < r[-1].end) {
		pr_err("%s: %lx is below the end of the range before it\n", name, r->start);
		return -EINVAL;
	}
	if (!f || strcmp(f->name, name)) {
		f = &t->funcs[t->nr_funcs++];
		f->name = name;
		f->first = t->nr_ranges;
	}
	f->nr++;
	r->end = r->start + len;
	r->func = f - t->funcs;
	t->bytes += len;
	t->nr_ranges++;
	return 0;
}

static int parse(struct trap *t)
{
	char *rest = t->text, *line, *p;
	unsigned int lines = 1;
	int err;

	for (p = t->text; *p; p++)
		lines += *p == '\n';
	t->ranges = kvcalloc(lines, sizeof(*t->ranges), GFP_KERNEL);
	t->funcs = kvcalloc(lines, sizeof(*t->funcs), GFP_KERNEL);
	if (!t->ranges || !t->funcs)
		return -ENOMEM;
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		err = parse_line(t, line);
		if (err)
			return err;
	}
	return t->nr_ranges ? 0 : -EINVAL;
}

static int prepare(struct trap *t, const char __user *buf, size_t count)
{
	int err;

	t->text = kvzalloc(count + 1, GFP_KERNEL);
	if (!t->text)
		return -ENOMEM;
	if (copy_from_user(t->text, buf, count))
		return -EFAULT;
	err = parse(t);
	if (err)
		return err;
	t->saved = kvmalloc(t->bytes, GFP_KERNEL);
	if (!t->saved)
		return -ENOMEM;
	return map_text(t);
}

static ssize_t trap_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct trap *t;
	int err;

	if (count > LIST_MAX)
		return -E2BIG;
	t = kzalloc(sizeof(*t), GFP_KERNEL);
	if (!t)
		return -ENOMEM;
	err = prepare(t, buf, count);
	if (err)
		goto out;
	mutex_lock(&trap_mutex);
	err = trap ? -EBUSY : arm(t);
	if (!err) {
		last_funcs = t->nr_funcs;
		last_bytes = t->bytes;
	}
	mutex_unlock(&trap_mutex);
out:
	if (!err)
		return count;
	free_trap(t);
	return err;
}

static ssize_t untrap_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	mutex_lock(&trap_mutex);
	disarm();
	mutex_unlock(&trap_mutex);
	return count;
}

static int hits_show(struct seq_file *m, void *unused)
{
	unsigned int total, i;

	mutex_lock(&trap_mutex);
	total = atomic_read(&nr_hits);
	seq_printf(m, "total %u\n", total);
	seq_printf(m, "trapped %u functions, %lu bytes%s\n", last_funcs, last_bytes,
		   trap ? "" : ", restored");
	for (i = 0; i < min_t(unsigned int, total, HITS_MAX); i++)
		if (atomic_read_acquire(&hits[i].complete))
			seq_puts(m, hits[i].text);
	mutex_unlock(&trap_mutex);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hits);

static const struct file_operations trap_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = trap_write,
};

static const struct file_operations untrap_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = untrap_write,
};

int trap_setup(struct dentry *dir)
{
	int err;

	kernel_text_mutex = (void *)schedtest_lookup("text_mutex");
	text_start = schedtest_lookup("_stext");
	text_end = schedtest_lookup("_etext");
	save_stack_regs = (void *)schedtest_lookup("stack_trace_save_regs");
	stop_cpus = (void *)schedtest_lookup("stop_machine_cpuslocked");
	kprobe_at = (void *)schedtest_lookup("get_kprobe");
	if (!kernel_text_mutex || !text_start || !text_end || !save_stack_regs || !stop_cpus ||
	    !kprobe_at) {
		pr_err("the kernel lacks a symbol that is needed\n");
		return -ENOENT;
	}
	err = register_die_notifier(&trap_notifier);
	if (err)
		return err;
	debugfs_create_file("trap", 0200, dir, NULL, &trap_fops);
	debugfs_create_file("untrap", 0200, dir, NULL, &untrap_fops);
	debugfs_create_file("hits", 0400, dir, NULL, &hits_fops);
	return 0;
}

void trap_cleanup(void)
{
	mutex_lock(&trap_mutex);
	disarm();
	mutex_unlock(&trap_mutex);
	unregister_die_notifier(&trap_notifier);
}
