/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The `tenon` command: what its subcommands share. They use libtenon through its public header alone. */
#ifndef TENON_CLI_H
#define TENON_CLI_H

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include <getopt.h>
#include <stdio.h>
#include <tenon/tenon.h>

/* Exit codes: a contract, scripts depend on them. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NODEVICE = 3 };

struct json_object;

int cli_devices(int argc, char **argv);
int cli_ops(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_kernels(int argc, char **argv);
int tenon__conform_main(int argc, char **argv);
int tenon__bench_main(int argc, char **argv);

/* "tenon: ..." on standard error; returns `code`. */
int cli_fail(int code, const char *format, ...) TENON_PRINTF(2, 3);
/* The exit code for a status of libtenon. */
int cli_code(int32_t status);
/* cli_fail with tenon_error(). */
int cli_fail_status(int32_t status);

/* getopt_long that prints its own message, with a suggestion, for an unknown option or a missing argument, and then
 * returns '?'. */
int cli_getopt(int argc, char **argv, const char *shorts, const struct option *longs);
/* ", did you mean 'x'?" or "" in a static buffer. */
const char *cli_near(const char *word, const char *const *names, uint32_t n);

/* The same, or else "; there are a, b, c". */
const char *cli_near_or_all(const char *word, const char *const *names, uint32_t n);
/* The operator, or NULL after a message. */
const struct tenon_op_contract *cli_op(const char *name);
/* "4096x1024", "scalar" for rank 0 */
const char *cli_shape(const struct tenon_tensor *tensor, char *text, size_t room);
/* "15.6 GiB" */
const char *cli_bytes(uint64_t n, char *text, size_t room);
/* One line of JSON on standard output; takes the object. */
void cli_json_line(struct json_object *object);
/* A number, or null when it is not finite. */
struct json_object *cli_json_number(double value);

/* ---- probe.c ---- */

/* Loads one plugin and lists its devices in a child process, so that a plugin that crashes, hangs or exits takes
 * nothing with it; it has so many seconds. Calls `line` with what the child said, one JSON object each (as `devices
 * --json` prints); or once with an object made here when it said nothing or died. 0, or -1 when no child could be made
 * (the sentence is in errno). */
int cli_probe(const char *path, const char *backend, unsigned seconds,
              void (*line)(void *user, struct json_object *object), void *user);
/* One entry of a report as JSON. */
struct json_object *cli_entry_json(const struct tenon_report_entry *entry);

/* ---- npy.c: arrays in NumPy's format ---- */

struct npy {
    struct tenon_tensor tensor; /* contiguous; u2 is bf16 */
    void *data;                 /* page-aligned, free() */
    uint64_t bytes;
};
/* 0, or -1 with the sentence in why. */
int npy_read(const char *path, struct npy *npy, struct tenon_why *why);
/* Writes beside the file and renames: a failure leaves what was there. */
int npy_write(const char *path, const struct npy *npy, struct tenon_why *why);
/* Memory for a tensor, as npy_read makes it. */
void *npy_alloc(uint64_t bytes);

/* ---- example.c ---- */

/* Tensors that the operator takes (not more than that: their size is no promise), inputs of type `dtype` where they may
 * have it. 0, or -1 when the contract's shapes do not say enough. */
int cli_example(const struct tenon_op_contract *op, const void *params, uint32_t dtype, struct tenon_tensor *tensors);

#endif
