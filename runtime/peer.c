// SPDX-License-Identifier: GPL-2.0-only
/* Another scheduler module, which this one is to replace. */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "plugsched.h"

/* Return a loaded module with a reference, or NULL. */
static struct module *get_module(const char *name)
{
	struct module *mod;

	preempt_disable();
	mod = find_module(name);
	if (mod && !try_module_get(mod))
		mod = NULL;
	preempt_enable();
	return mod;
}

static void *lookup(const char *module, const char *symbol)
{
	char name[MODULE_NAME_LEN + 32];

	snprintf(name, sizeof(name), "%s:%s", module, symbol);
	return (void *)kallsyms_lookup_name(name);
}

/* Kernels without CONFIG_KALLSYMS_ALL know a module's functions only. */
static struct plugsched_module *find_self(const char *module)
{
	struct plugsched_module *(*self)(void);
	struct plugsched_module *found = lookup(module, "plugsched_self");

	if (found)
		return found;
	self = lookup(module, "plugsched_self_here");
	return self ? self() : NULL;
}

/*
 * What the module of that name shows of itself, with a reference to it.
 * Context: process.
 */
struct plugsched_module *plugsched_peer_get(const char *name)
{
	struct plugsched_module *peer;
	struct module *mod;

	mod = get_module(name);
	if (!mod)
		return ERR_PTR(-ENOENT);
	peer = find_self(name);
	if (!peer || peer == &plugsched_self) {
		module_put(mod);
		return ERR_PTR(-ENOENT);
	}
	if (peer->abi != PLUGSCHED_ABI) {
		pr_err("%s was built by another version of plugsched\n", name);
		module_put(mod);
		return ERR_PTR(-EPROTO);
	}
	return peer;
}

void plugsched_peer_put(struct plugsched_module *peer)
{
	module_put(peer->owner);
}
