/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every driver call and every allocation fails once, in turn, and the device is lost at every call that can say so: the
 * right status comes out, nothing leaks, everything can be destroyed, and the next try works. */
#include "tap.h"
#include "vk_scene.h"

static long handles; /* that stay: the instance */

static void check_clean(const char *what, long n)
{
    is_int(scene_live_memory, 0, "%s %ld: no memory leaks", what, n);
    is_int(scene_live_handles, handles, "%s %ld: no handles leak", what, n);
}

/* Discovery happens once a process, so it fails until it works. */
static int discover(void)
{
    const struct tenon_backend *backend = tenon_backend_entry_v1(&scene_host);
    uint32_t count = 77;
    for (long n = 1;; n++) {
        scene_calls = 0;
        scene_fail_at = n;
        scene_failed = NULL;
        int32_t status = backend->device_count(&count);
        if (!scene_failed) {
            is_int(status, TENON_OK, "discovery works after %ld failures", n - 1);
            break;
        }
        is_int(status, TENON_E_NOMEM, "discovery: %s fails", scene_failed);
        check_clean("discovery", n);
        if (n > 1000)
            bail("discovery never works");
    }
    scene_fail_at = 0;
    handles = scene_live_handles;
    return count > 0;
}

static void fail_calls(VkResult with, int32_t want, const char *what)
{
    scene_fail_with = with;
    for (long n = 1;; n++) {
        scene_calls = 0;
        scene_fail_at = n;
        scene_failed = NULL;
        int32_t status = scene_play();
        scene_fail_at = 0;
        if (!scene_failed) {
            is_int(status, TENON_OK, "%s: %ld calls failed in turn, then all works: %s", what, n - 1,
                   status ? scene_error : "yes");
            break;
        }
        /* Some calls only serve a cache or tidy up, and a lost memory for one wait is made good. */
        if (status == TENON_OK)
            tap_note("%s %ld: %s failed without harm", what, n, scene_failed);
        else if (!is_int(status, want, "%s %ld: %s fails", what, n, scene_failed))
            tap_note("%s", scene_error);
        check_clean(what, n);
    }
    scene_fail_with = VK_ERROR_OUT_OF_HOST_MEMORY;
}

static void fail_allocations(void)
{
    for (long n = 1;; n++) {
        scene_alloc_count = 0;
        scene_alloc_fail_at = n;
        int32_t status = scene_play();
        long count = scene_alloc_count;
        scene_alloc_fail_at = 0;
        if (count < n) {
            is_int(status, TENON_OK, "%ld allocations failed in turn, then all works", n - 1);
            break;
        }
        if (status == TENON_OK)
            tap_note("allocation %ld failed without harm", n);
        else
            is_int(status, TENON_E_NOMEM, "allocation %ld fails", n);
        check_clean("allocation", n);
    }
}

int main(void)
{
    if (!scene_install())
        return tap_skip_all("no Vulkan loader on this machine");
    if (!discover())
        return tap_skip_all("no Vulkan device on this machine");
    for (int staging = 0; staging < 2; staging++) {
        scene_force_staging(staging);
        fail_calls(VK_ERROR_OUT_OF_HOST_MEMORY, TENON_E_NOMEM, staging ? "host memory, staging" : "host memory");
        fail_calls(VK_ERROR_OUT_OF_DEVICE_MEMORY, TENON_E_NOMEM, staging ? "device memory, staging" : "device memory");
        fail_calls(VK_ERROR_DEVICE_LOST, TENON_E_LOST, staging ? "lost, staging" : "lost");
        fail_allocations();
    }
    return tap_done();
}
