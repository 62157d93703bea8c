// SPDX-License-Identifier: GPL-2.0-only
/*
 * One fault of each kind that the debug kernel's checks are there to find, to
 * prove that they are awake: silence counts for nothing otherwise.
 */

#include <linux/init.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *fault = "";
module_param(fault, charp, 0444);
MODULE_PARM_DESC(fault, "kasan, lockdep, kmemleak or atomic");

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);

/* Reads a byte past an allocation. */
static void __init plant_kasan(void)
{
	char *bytes = kmalloc(13, GFP_KERNEL);

	if (!bytes)
		return;

	OPTIMIZER_HIDE_VAR(bytes);
	(void)READ_ONCE(bytes[13]);
	kfree(bytes);
}

/* Takes two locks in both orders, which no test would ever see to deadlock. */
static void __init plant_lockdep(void)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);

	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

/*
 * Forgets some memory; many pieces, as stale pointers hide some: SLUB's sheaves
 * keep the addresses of what they last gave, up to a few dozen for each size.
 * Not __init, as the report is to know its name.
 */
static noinline void plant_kmemleak(void)
{
	unsigned int i;

	for (i = 0; i < 512; i++) {
		void *bytes = kmalloc(1000, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(bytes);
	}
}

/* May sleep where it must not. */
static void __init plant_atomic(void)
{
	static DEFINE_SPINLOCK(lock);

	spin_lock(&lock);
	might_sleep();
	spin_unlock(&lock);
}

static int __init planted_fault_init(void)
{
	if (!strcmp(fault, "kasan"))
		plant_kasan();
	else if (!strcmp(fault, "lockdep"))
		plant_lockdep();
	else if (!strcmp(fault, "kmemleak"))
		plant_kmemleak();
	else if (!strcmp(fault, "atomic"))
		plant_atomic();
	else
		return -EINVAL;

	return 0;
}
module_init(planted_fault_init);

static void __exit planted_fault_exit(void)
{
}
module_exit(planted_fault_exit);

MODULE_DESCRIPTION("Faults for the debug kernel to find, for tests");
MODULE_LICENSE("GPL");
