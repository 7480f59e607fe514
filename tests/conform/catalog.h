/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the catalogs share: published systems, each built from the attributes of an operator on every device that is
 * there, and compared with its paper's formula written out in f64. The numbers are those of the catalog of systems. */
#ifndef CONFORM_CATALOG_H
#define CONFORM_CATALOG_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/tenon.h>

#include "../tap.h"

extern struct tenon_context *catalog_context;
extern const char *catalog_device;

/* Runs the systems on cpu, opencl and vulkan. The exit status. */
int catalog_devices(void (*systems)(void));

void catalog_seed(uint64_t seed);
double catalog_uniform(void);
double catalog_normal(void);
/* Within what f32 leaves of numbers of this size. */
int catalog_close(double got, double want);
void catalog_are(const float *got, const double *want, int n, const char *name);
/* w = exp(z) / sum exp(z); the logarithm of that sum. */
double catalog_exp_weights(const double *z, double *w, int n);

#endif
