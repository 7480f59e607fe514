/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef TENON_OPS_ACT_H
#define TENON_OPS_ACT_H

/* Activations, one list for every operator that has one: X(NAME, lower-case name, text).
 * Sources: SiLU, GELU (Hendrycks & Gimpel 2016), GoLU (Das et al. 2025), expanded gating ranges xSiLU, xGELU, xATLU
 * (Huang 2024: g(x)(1+2 alpha) - alpha with g = sigmoid, Phi, (atan x + pi/2)/pi), FATReLU (ProSparse, 2024).
 * At -Inf every one but the x-forms with alpha > 0 and identity gives 0 (XATLU with alpha = 0: -1/pi). NaN gives
 * NaN. */
#define TENON_ACT_LIST(X)                                                 \
    X(IDENTITY, "identity", "x")                                          \
    X(RELU, "relu", "max(x,0)")                                           \
    X(RELU2, "relu2", "max(x,0)^2")                                       \
    X(SILU, "silu", "x*sigmoid(x)")                                       \
    X(GELU, "gelu", "0.5*x*erfc(-x/sqrt(2))")                             \
    X(GELU_TANH, "gelu_tanh", "0.5*x*(1+tanh(0.7978845608*(x+0.044715*x^3)))") \
    X(GOLU, "golu", "x*exp(-exp(-x))")                                    \
    X(XSILU, "xsilu", "x*(sigmoid(x)*(1+2*alpha)-alpha)")                 \
    X(XGELU, "xgelu", "x*(Phi(x)*(1+2*alpha)-alpha)")                     \
    X(XATLU, "xatlu", "x*((atan(x)+pi/2)/pi*(1+2*alpha)-alpha)")          \
    X(FATRELU, "fatrelu", "x > threshold ? x : 0")

#define TENON_ACT_CONSTANT_(NAME, name, text) TENON_ACT_##NAME,
enum { TENON_ACT_LIST(TENON_ACT_CONSTANT_) TENON_ACT_COUNT };
#undef TENON_ACT_CONSTANT_

#endif
