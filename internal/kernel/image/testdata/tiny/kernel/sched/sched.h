// SPDX-License-Identifier: BSD-3-Clause

struct rq;
typedef struct {
	int counter;
} atomic_t;

enum state { RUNNING, SLEEPING };

struct rq {
	int nr;
	unsigned int flags : 3, idle : 1;
	union {
		long word;
		struct {
			int low, high;
		};
	};
	struct {
		short depth;
	} nest;
	atomic_t refs;
	enum state state;
	const struct rq *next;
	int (*pick)(struct rq *rq, int cpu);
	void *slots[2][3];
	char tail[];
};

struct sched_class {
	void (*enqueue)(struct rq *rq);
	int (*select)(int cpu);
};

extern volatile int sink;

void enqueue_task(struct rq *rq);
int callee(int x);
int other(int x);
void fail(void) __attribute__((cold, noinline));

static inline __attribute__((always_inline)) int deepest(int x)
{
	sink += x;
	return x * 3;
}

static inline __attribute__((always_inline)) int inner(int x)
{
	return deepest(x + sink) ^ sink;
}
