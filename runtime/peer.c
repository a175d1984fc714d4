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

/*
 * What the module of that name shows of itself, with a reference to it.
 * Context: process.
 */
struct plugsched_module *plugsched_peer_get(const char *name)
{
	char symbol[MODULE_NAME_LEN + sizeof(":plugsched_self")];
	struct plugsched_module *peer;
	struct module *mod;

	mod = get_module(name);
	if (!mod)
		return ERR_PTR(-ENOENT);
	snprintf(symbol, sizeof(symbol), "%s:plugsched_self", name);
	peer = (void *)kallsyms_lookup_name(symbol);
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
