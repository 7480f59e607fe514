/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The XNNPACK peer: softmax f32. XNNPACK shares out whole rows to the threads of a pthreadpool, so one row is the work
 * of one thread whatever their number. Its fully connected operators copy the weights into a form of their own when
 * they are made, before a plan of ours has seen any data, and are left out. */
#include "peer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/ops/softmax.h>
#include <xnnpack.h>

/* Of a plan. XNNPACK keeps the tensors of a run in its operator, so runs of one plan wait for each other. */
struct own {
    xnn_operator_t operator;
    pthread_mutex_t lock;
    size_t rows;
};

static void driver(char *text, size_t room)
{
    snprintf(text, room, "XNNPACK"); /* it has no version */
}

static int32_t device_open(void **own, struct tenon_why *why)
{
    const char *threads = tenon__peer_host->config(tenon__peer_host, "threads");
    if (xnn_initialize(NULL) != xnn_status_success)
        return tenon_why_set(why, TENON_E_NODEVICE, "XNNPACK does not run on this processor");
    *own = pthreadpool_create(threads ? (size_t)strtoul(threads, NULL, 10) : 0);
    if (!*own)
        return tenon_why_set(why, TENON_E_NOMEM, "XNNPACK: no threads");
    return TENON_OK;
}

static void device_close(void *own)
{
    pthreadpool_destroy(own);
}

static int32_t make_plan(struct peer_request *r)
{
    struct peer_softmax s;
    if (r->contract->op != TENON_OPNUM_softmax)
        return tenon__peer_no(r, "softmax only");
    int32_t status = tenon__peer_softmax(r, &s);
    if (status)
        return status;
    if (s.kind != TENON_SOFTMAX_EXP || r->tensor[TENON_SOFTMAX_X].dtype != TENON_F32 ||
        r->tensor[TENON_SOFTMAX_Y].dtype != TENON_F32)
        return tenon__peer_no(r, "kind exp of f32");
    struct own *own = tenon__peer_host->alloc(tenon__peer_host, sizeof *own, 64);
    if (!own)
        return tenon_why_set(r->why, TENON_E_NOMEM, "XNNPACK: no memory");
    own->rows = (size_t)s.rows;
    if (xnn_create_softmax_nc_f32((size_t)s.cols, (size_t)(s.rows > 1 ? s.x_stride : s.cols),
                                  (size_t)(s.rows > 1 ? s.y_stride : s.cols), 0,
                                  &own->operator) != xnn_status_success) {
        tenon__peer_host->free(tenon__peer_host, own);
        return tenon__peer_no(r, "no softmax for these shapes");
    }
    pthread_mutex_init(&own->lock, NULL);
    r->plan->own = own;
    snprintf(r->plan->impl, sizeof r->plan->impl, "XNNPACK softmax_nc_f32 three_pass_reload");
    return TENON_OK;
}

static void plan_close(struct tenon_plan *plan)
{
    struct own *own = plan->own;
    if (!own)
        return;
    xnn_delete_operator(own->operator);
    pthread_mutex_destroy(&own->lock);
    tenon__peer_host->free(tenon__peer_host, own);
}

static int run(const struct tenon_plan *plan, void *device, void *queue, unsigned char *const *tensor,
               unsigned char *scratch)
{
    struct own *own = plan->own;
    (void)queue, (void)scratch;
    pthread_mutex_lock(&own->lock);
    int bad = xnn_setup_softmax_nc_f32(own->operator, own->rows, (const void *)tensor[TENON_SOFTMAX_X],
                                       (void *)tensor[TENON_SOFTMAX_Y], device) != xnn_status_success ||
              xnn_run_operator(own->operator, device) != xnn_status_success;
    pthread_mutex_unlock(&own->lock);
    return bad;
}

const struct peer tenon__peer = {
    .id = "xnnpack",
    .name = "XNNPACK",
    .extra = XNN_EXTRA_BYTES,
    .driver = driver,
    .device_open = device_open,
    .device_close = device_close,
    .plan = make_plan,
    .plan_close = plan_close,
    .run = run,
};
