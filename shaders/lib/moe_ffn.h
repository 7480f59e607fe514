/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The plan that the launches of moe_ffn share, in words of the scratch. Segment s of experts + 2: 0 is rows before the
 * first expert's, s those of expert s - 1, the last rows after them. Rows count from the first of the launches'. */
#ifndef TN_LIB_MOE_FFN_H
#define TN_LIB_MOE_FFN_H

#define FFN_NONE 0xffffffffu
/* at 0: [experts + 3] tiles of rows before those of segment s; then, from the words that these give: */
#define FFN_STARTS(experts) ((experts) + 3u)      /* [experts + 3] the first row of segment s */
#define FFN_WIDTHS(experts) (2u * (experts) + 6u) /* [experts + 1] foff, as it counts */
#define FFN_ENDS(experts) (3u * (experts) + 7u)   /* [experts + 1] offsets, as they count, of all rows */
#define FFN_ROWS(experts) (4u * (experts) + 8u)   /* the row of x of each row, or FFN_NONE */

#endif
