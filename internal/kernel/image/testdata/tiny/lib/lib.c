// SPDX-License-Identifier: BSD-3-Clause

#define alone __attribute__((noipa))

int callee(int x);
volatile int lib_sink;

alone __attribute__((weak)) int arch_hook(int x)
{
	return callee(x) + 7;
}

alone __attribute__((cold)) void fail(void)
{
	lib_sink = 2;
}

static alone __attribute__((used)) int same_name(int x)
{
	return x - lib_sink;
}

alone int use_hook(int x)
{
	return arch_hook(x) + 1;
}
