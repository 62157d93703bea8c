/* SPDX-License-Identifier: GPL-2.0-only */

/* Finds the worker for a job, or adds one, and takes each answer of the spawner to the worker that waits for it. Every
 * allocation is done by a process in the client's control group. The invariant: a process that no worker waits for any
 * more is killed, even in a control group that is frozen. */

#include <signal.h>
#include <sys/pidfd.h>

#include "util/fd-util.h"
#include "util/list.h"
#include "util/log.h"
#include "worker/spawner-link.h"
#include "worker/worker-handle.h"
#include "worker/worker-pool.h"

struct WorkerPool {
        WorkerKeeper keeper;
        SpawnerLink *spawner;
        Worker *workers;
        unsigned n_workers;
        uint64_t last_spawn_id;
};

/* A new id for each try: a late answer to an earlier one must not be taken for this one's. */
static int on_spawn(int cgroup_fd, int worker_fd, uint64_t *ret_id, void *userdata) {
        WorkerPool *pool = userdata;
        uint64_t id = ++pool->last_spawn_id;

        int r = spawner_link_request(pool->spawner, id, cgroup_fd, worker_fd);
        if (r >= 0)
                *ret_id = id;
        return r;
}

static void on_worker_gone(Worker *worker, void *userdata) {
        WorkerPool *pool = userdata;

        if (LIST_REMOVE(pool->workers, worker))
                pool->n_workers--;
}

static void on_spawner_reply(uint64_t id, int error, int pidfd, void *userdata) {
        WorkerPool *pool = userdata;

        for (Worker *worker = pool->workers; worker; worker = worker->next)
                if (worker_awaits(worker, id)) {
                        worker_spawned(worker, error, pidfd);
                        return;
                }

        /* The client has gone meanwhile. */
        if (pidfd >= 0)
                (void) pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        safe_close(pidfd);
}

static void on_spawner_lost(void *userdata) {
        WorkerPool *pool = userdata;

        for (Worker *worker = pool->workers, *next; worker; worker = next) {
                next = worker->next;
                worker_spawner_lost(worker);
        }
}

int worker_pool_new(sd_event *event, const char *spawner_path, WorkerPool **ret) {
        _cleanup_(worker_pool_freep) WorkerPool *pool = malloc(sizeof(WorkerPool));
        if (!pool)
                return -ENOMEM;

        *pool = (WorkerPool) {
                .keeper = {
                        .event = sd_event_ref(event),
                        .spawn = on_spawn,
                        .on_gone = on_worker_gone,
                        .userdata = pool,
                },
        };

        int r = spawner_link_new(event, spawner_path, on_spawner_reply, on_spawner_lost, pool, &pool->spawner);
        if (r < 0)
                return r;

        r = spawner_link_start(pool->spawner);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(pool);
        return 0;
}

WorkerPool *worker_pool_free(WorkerPool *pool) {
        if (!pool)
                return NULL;

        while (pool->workers)
                worker_free(pool->workers);
        spawner_link_free(pool->spawner);
        sd_event_unref(pool->keeper.event);
        free(pool);
        return NULL;
}

static Worker *find_worker(const WorkerPool *pool, const WorkerJobParameters *parameters) {
        for (Worker *worker = pool->workers; worker; worker = worker->next)
                if (worker_serves(worker, parameters->client, parameters->cgroup_id))
                        return worker;
        return NULL;
}

int worker_pool_submit(WorkerPool *pool, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                WorkerJob **ret) {
        Worker *worker = find_worker(pool, parameters);
        if (worker)
                return worker_submit(worker, parameters, on_done, userdata, ret);

        int r = worker_new(&pool->keeper, parameters, &worker);
        if (r < 0)
                return r;
        LIST_PREPEND(pool->workers, worker);
        pool->n_workers++;

        r = worker_submit(worker, parameters, on_done, userdata, ret);
        if (r < 0)
                worker_free(worker);
        return r;
}

void worker_pool_forget_client(WorkerPool *pool, const void *client) {
        for (Worker *worker = pool->workers; worker; worker = worker->next)
                if (worker->client == client)
                        worker_forget_client(worker);
}

unsigned worker_pool_n_workers(const WorkerPool *pool) {
        return pool->n_workers;
}
