/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-varlink.h>

#include "manager.h"
#include "varlink/input-watch.h"

/* One connection as sd-varlink has it, and the call that it waits for: at most one, since sd-varlink takes the next
 * call only after the reply. */
typedef struct Link Link;

/* Makes the parameters of a reply. Returns 0 and the caller's object, or -errno. Must not end the connection. */
typedef int (*link_build_t)(Link *link, sd_json_variant **ret);

struct Link {
        Link *next;
        Manager *manager;
        sd_varlink *varlink; /* borrowed: sd-varlink keeps it until the disconnect callback */
        Connection connection;
        InputWatch *input_watch;
        size_t asked_unread; /* bytes of calls since the peer has answers to read */
        bool subscribed;     /* to ListHeaps */
        bool behind;         /* has not been sent the last change, since it had answers to read */

        AllocateRequest *request; /* an Allocate without a reply yet */
        RoundWait *wait;          /* for a scan or a census, of another call without a reply yet */
        link_build_t build;       /* makes the reply after the census; not for ListHeaps */
        bool wants_more;          /* ListHeaps: the call has the flag 'more' */
        char *unit;               /* ListBuffers: only of this unit, or NULL */
        uint64_t uid;             /* ListBuffers: only of this user id, or UINT64_MAX */
};

/* Identifies the peer of a new connection. The link must be freed before the manager, in the disconnect callback at the
 * latest. Returns 0 or -errno. */
int link_new(Manager *manager, sd_varlink *varlink, Link **ret);

/* Cancels the call that has no reply yet. The sd_varlink object must not be used with it any more. */
Link *link_free(Link *link);
DEFINE_CLEANUP(Link, link_free);

/* Whether there are answers that the peer has not read. */
bool link_is_unread(const Link *link);

/* Closes the connection if r, the result of sending `what`, is negative: the peer would wait for ever. The link may be
 * gone when this returns. */
void link_check(Link *link, int r, const char *what);

/* Sends an error. Returns what a method that has answered returns: the negative errno that sd-varlink has for the
 * error. */
int link_send_error(Link *link, const AllocateReply *reply);

/* Sends OutOfResources. Returns a negative errno likewise. */
int link_refuse(Link *link, const char *resource);

/* Sends the list of the heaps as the reply to ListHeaps; with `more`, others may follow. The link may be gone when this
 * returns. */
void link_send_heaps(Link *link, bool more);
