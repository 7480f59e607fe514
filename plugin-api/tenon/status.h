/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef TENON_STATUS_H
#define TENON_STATUS_H

/* One list of status codes for every call and operator: X(name, number, text).
 * 0 is success, errors are negative, numbers are never reused. A negative number that is not in this list reads as
 * INTERNAL (a newer side may know more). */
#define TENON_STATUS_LIST(X)                                                                      \
    X(OK, 0, "success")                                                                           \
    X(ARG, -1, "attribute or flag out of range")                                                  \
    X(SHAPE, -2, "tensor shape does not fit the operator")                                        \
    X(DTYPE, -3, "tensor type does not fit the operator")                                         \
    X(ALIAS, -4, "tensors overlap in a way the operator does not allow")                          \
    X(INDEX, -5, "index out of range")                                                            \
    X(STATE, -6, "state tensor does not fit")                                                     \
    X(RANGE, -7, "integer accumulator could overflow")                                            \
    X(WORKSPACE, -8, "workspace missing, too small or misaligned")                                \
    X(UNSUPPORTED, -9, "valid, but not supported here")                                           \
    X(INVALID, -10, "the call broke the calling contract")                                        \
    X(NOMEM, -11, "out of memory")                                                                \
    X(NODEVICE, -12, "no such device")                                                            \
    X(LOST, -13, "the device was lost")                                                           \
    X(IO, -14, "input or output failed")                                                          \
    X(TIMEOUT, -15, "timed out")                                                                  \
    X(INTERNAL, -16, "internal error")

#define TENON_STATUS_CONSTANT_(name, number, text) TENON_E_##name = number,
enum { TENON_STATUS_LIST(TENON_STATUS_CONSTANT_) TENON_STATUS_MIN_ = -16 };
#undef TENON_STATUS_CONSTANT_
#define TENON_OK 0

#if defined(__GNUC__)
#define TENON_MUST_USE __attribute__((warn_unused_result))
#define TENON_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define TENON_MUST_USE
#define TENON_PRINTF(a, b)
#endif

#endif
