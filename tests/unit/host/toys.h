/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The folders of plugins that the host's tests use. */
#ifndef TENON_TEST_TOYS_H
#define TENON_TEST_TOYS_H

/* Makes the folder (mkdtemp pattern) with first/ (libtenon-toy.so, libtenon-toy2.so and files that must be refused),
 * second/ (a duplicate) and writable/ (a folder that everybody may write to). Ends the program on failure. */
void toys_folder(char *folder);
void toys_remove(const char *folder);
/* Sets TENON_BACKEND_PATH to the place where the toys were built, and the layers when TENON_TEST_LAYER_PATH says
 * where. */
void toys_path(void);

#endif
