dnl SPDX-License-Identifier: MIT
dnl What the machine has, and what to build from it. Every missing part says what it costs and how to get it.

dnl ---- compiler ----
AC_DEFUN([TENON_TRY_FLAG], [
    AS_VAR_PUSHDEF([tenon_Cache], [tenon_cv_flag_$2])
    AC_CACHE_CHECK([whether $CC takes $2], [tenon_Cache], [
        tenon_save_CFLAGS=$CFLAGS
        CFLAGS="$CFLAGS -Werror $2"
        AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])], [AS_VAR_SET([tenon_Cache], [yes])], [AS_VAR_SET([tenon_Cache], [no])])
        CFLAGS=$tenon_save_CFLAGS
    ])
    AS_VAR_IF([tenon_Cache], [yes], [$1="$$1 $2"])
    AS_VAR_POPDEF([tenon_Cache])
])
AC_CACHE_CHECK([for C11], [tenon_cv_c11], [
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([_Static_assert(__STDC_VERSION__ >= 201112L, "C11"); int tenon;])],
        [tenon_cv_c11=yes], [tenon_cv_c11=no])])
AS_VAR_IF([tenon_cv_c11], [no], [AC_MSG_ERROR([the C compiler $CC does not do C11])])

WARN_CFLAGS=
m4_foreach_w([tenon_Flag], [-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith
    -Wwrite-strings -Werror=override-init -Werror=initializer-overrides], [TENON_TRY_FLAG([WARN_CFLAGS], tenon_Flag)])
AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [turn every warning into an error])], [], [enable_werror=no])
AS_VAR_IF([enable_werror], [yes], [WARN_CFLAGS="$WARN_CFLAGS -Werror"])
dnl A product and a sum become an FMA only where the source says fma: equal bits on every build.
MATH_CFLAGS=
m4_foreach_w([tenon_Flag], [-ffp-contract=off -fno-math-errno], [TENON_TRY_FLAG([MATH_CFLAGS], tenon_Flag)])
AC_SUBST([WARN_CFLAGS])
AC_SUBST([MATH_CFLAGS])

AC_ARG_ENABLE([sanitize],
    [AS_HELP_STRING([--enable-sanitize=LIST], [build with sanitizers, e.g. address,undefined or thread])],
    [], [enable_sanitize=no])
AS_CASE([$enable_sanitize], [no], [SAN_FLAGS=],
    [yes], [SAN_FLAGS="-fsanitize=address,undefined -fno-omit-frame-pointer"],
    [SAN_FLAGS="-fsanitize=$enable_sanitize -fno-omit-frame-pointer"])
AC_SUBST([SAN_FLAGS])

AC_ARG_ENABLE([fuzz],
    [AS_HELP_STRING([--enable-fuzz], [for make check-fuzz: everything instrumented for libFuzzer; needs CC=clang])],
    [], [enable_fuzz=no])
AS_VAR_IF([enable_fuzz], [yes], [
    AS_VAR_IF([enable_sanitize], [no], [enable_sanitize=address,undefined])
    SAN_FLAGS="-fsanitize=fuzzer-no-link,$enable_sanitize -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
    tenon_fuzz_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $SAN_FLAGS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM()], [], [AC_MSG_ERROR([--enable-fuzz: $CC has no libFuzzer; take CC=clang])])
    CFLAGS=$tenon_fuzz_CFLAGS])
AM_CONDITIONAL([FUZZ], [test "$enable_fuzz" = yes])

tenon_save_LDFLAGS=$LDFLAGS
LDFLAGS="$LDFLAGS -Wl,-z,now -Wl,-z,relro -Wl,-Bsymbolic -Wl,--exclude-libs,ALL"
AC_CACHE_CHECK([whether the linker hardens plugins], [tenon_cv_plugin_ldflags],
    [AC_LINK_IFELSE([AC_LANG_PROGRAM()], [tenon_cv_plugin_ldflags=yes], [tenon_cv_plugin_ldflags=no])])
LDFLAGS=$tenon_save_LDFLAGS
PLUGIN_HARDEN=
AS_VAR_IF([tenon_cv_plugin_ldflags], [yes],
    [PLUGIN_HARDEN="-Wl,-z,now -Wl,-z,relro -Wl,-Bsymbolic -Wl,--exclude-libs,ALL"
     dnl A sanitizer's own symbols are resolved at run time, so -z defs would refuse them.
     AS_VAR_IF([enable_sanitize], [no], [PLUGIN_HARDEN="$PLUGIN_HARDEN -Wl,-z,defs"])])
AC_SUBST([PLUGIN_HARDEN])

dnl ---- processor: which ISA objects the CPU backend has ----
AS_CASE([$host_cpu], [x86_64|amd64], [tenon_all_isas="scalar sse4 avx2 avx512"],
    [aarch64*|arm64], [tenon_all_isas="scalar neon"], [tenon_all_isas=scalar])
AC_ARG_ENABLE([isa],
    [AS_HELP_STRING([--enable-isa=LIST], [build these alone of the CPU backend's ISAs, e.g. scalar,avx2 (all that there are for the processor)])],
    [], [enable_isa=yes])
AS_CASE([$enable_isa], [yes], [tenon_isas=$tenon_all_isas], [no], [tenon_isas=scalar], [
    tenon_isas=scalar
    for tenon_isa in `echo "$enable_isa" | tr , ' '`; do
        AS_CASE([" $tenon_all_isas "], [*" $tenon_isa "*], [],
            [AC_MSG_ERROR([--enable-isa: "$tenon_isa" is not one of: $tenon_all_isas])])
        AS_VAR_IF([tenon_isa], [scalar], [], [tenon_isas="$tenon_isas $tenon_isa"])
    done])
m4_foreach_w([tenon_Isa], [sse4 avx2 avx512 neon], [
    AS_CASE([" $tenon_isas "], [*" tenon_Isa "*], [tenon_has_isa=yes
        AC_DEFINE([TENON_HAVE_]m4_toupper(tenon_Isa), [1], [build the objects of this ISA])], [tenon_has_isa=no])
    AM_CONDITIONAL(m4_toupper(tenon_Isa), [test "$tenon_has_isa" = yes])])

dnl ---- libraries ----
tenon_missing=
AC_SEARCH_LIBS([dlopen], [dl])
AC_SEARCH_LIBS([sqrtf], [m])
AC_SEARCH_LIBS([pthread_create], [pthread])

dnl TENON_LIB(VAR, header, library, function, other libraries): sets tenon_have_VAR and VAR_LIBS
AC_DEFUN([TENON_LIB], [
    tenon_have_$1=no
    AC_CHECK_HEADER([$2], [AC_CHECK_LIB([$3], [$4], [tenon_have_$1=yes; $1_LIBS="-l$3 $5"], [], [$5])])
    AC_SUBST([$1_LIBS])
])
AC_ARG_WITH([pthreadpool],
    [AS_HELP_STRING([--without-pthreadpool], [no built-in thread pool: one thread unless the application brings its own])],
    [], [with_pthreadpool=yes])
AS_VAR_IF([with_pthreadpool], [no], [tenon_have_PTHREADPOOL=no; AC_SUBST([PTHREADPOOL_LIBS])], [
    TENON_LIB([PTHREADPOOL], [pthreadpool.h], [pthreadpool], [pthreadpool_create])
    AS_VAR_IF([tenon_have_PTHREADPOOL], [no], [tenon_missing="$tenon_missing libpthreadpool-dev"])])
AS_VAR_IF([tenon_have_PTHREADPOOL], [yes], [AC_DEFINE([TENON_HAVE_PTHREADPOOL], [1], [pthreadpool is there])])
TENON_LIB([JSON], [json-c/json.h], [json-c], [json_object_new_object])
TENON_LIB([NETTLE], [nettle/sha2.h], [nettle], [nettle_sha256_init])
TENON_LIB([PNG], [png.h], [png], [png_create_write_struct], [-lz -lm])
TENON_LIB([ZLIB], [zlib.h], [z], [gzopen])
AC_ARG_WITH([mpfr],
    [AS_HELP_STRING([--without-mpfr], [the suite takes its own f64 references as they are])], [], [with_mpfr=yes])
tenon_have_MPFR="no: --without-mpfr"
AS_VAR_IF([with_mpfr], [no], [AC_SUBST([MPFR_LIBS])], [
    TENON_LIB([MPFR], [mpfr.h], [mpfr], [mpfr_exp], [-lgmp])
    AS_VAR_IF([tenon_have_MPFR], [no], [tenon_have_MPFR="no: needs libmpfr-dev"])])
AS_VAR_IF([tenon_have_JSON], [no], [tenon_missing="$tenon_missing libjson-c-dev"])
AS_VAR_IF([tenon_have_NETTLE], [no], [tenon_missing="$tenon_missing nettle-dev"])
AS_IF([test -n "$tenon_missing"],
    [AC_MSG_ERROR([these are needed and missing:$tenon_missing
  On Debian: apt-get install$tenon_missing
  or let ./quickstart deps do it.])])
AM_CONDITIONAL([HAVE_MPFR], [test "$tenon_have_MPFR" = yes])
AS_VAR_IF([tenon_have_MPFR], [yes], [AC_DEFINE([TENON_HAVE_MPFR], [1], [MPFR is there])])
AM_CONDITIONAL([HAVE_FASHION], [test "$tenon_have_PNG$tenon_have_ZLIB" = yesyes])

dnl ---- GPU backends ----
AC_PATH_PROGS([GLSLC], [glslc])
AC_PATH_PROGS([SPIRV_VAL], [spirv-val], [:])
AC_PATH_PROGS([PYTHON3], [python3], [:])
AC_CHECK_HEADER([vulkan/vulkan.h], [tenon_vk_h=yes], [tenon_vk_h=no])
AC_CHECK_HEADER([CL/cl.h], [tenon_cl_h=yes], [tenon_cl_h=no], [#define CL_TARGET_OPENCL_VERSION 300])
tenon_opencl_why= tenon_vulkan_why=
AS_VAR_IF([tenon_cl_h], [no], [tenon_opencl_why="CL/cl.h is missing (Debian: opencl-headers)"])
AS_VAR_IF([tenon_vk_h], [no], [tenon_vulkan_why="vulkan/vulkan.h is missing (Debian: libvulkan-dev)"])
AS_IF([test -z "$GLSLC"], [tenon_vulkan_why="glslc is missing (Debian: glslc)"])
dnl TENON_GPU_BACKEND(id): --disable-id, or auto by what is there
AC_DEFUN([TENON_GPU_BACKEND], [
    AC_ARG_ENABLE([$1], [AS_HELP_STRING([--disable-$1], [do not build the $1 backend])], [], [enable_$1=auto])
    AS_CASE([$enable_$1],
        [yes], [AS_IF([test -n "$tenon_$1_why"], [AC_MSG_ERROR([--enable-$1: $tenon_$1_why])])],
        [no], [tenon_$1_why="disabled by option"],
        [AS_IF([test -n "$tenon_$1_why"],
            [enable_$1=no; AC_MSG_WARN([no $1 backend: $tenon_$1_why])], [enable_$1=yes])])
])
TENON_GPU_BACKEND([opencl])
TENON_GPU_BACKEND([vulkan])
AM_CONDITIONAL([OPENCL], [test "$enable_opencl" = yes])
AM_CONDITIONAL([VULKAN], [test "$enable_vulkan" = yes])
AM_CONDITIONAL([GPU], [test "$enable_opencl" = yes || test "$enable_vulkan" = yes])

dnl ---- peers for the benchmark ----
TENON_LIB([DNNL], [oneapi/dnnl/dnnl.h], [dnnl], [dnnl_engine_create])
AM_CONDITIONAL([HAVE_DNNL], [test "$tenon_have_DNNL" = yes])
TENON_LIB([XNNPACK], [xnnpack.h], [XNNPACK], [xnn_create_softmax_nc_f32], [-lpthreadpool])
AM_CONDITIONAL([HAVE_XNNPACK], [test "$tenon_have_XNNPACK" = yes])

AC_ARG_WITH([bash-completion-dir],
    [AS_HELP_STRING([--with-bash-completion-dir=DIR], [where the completion goes (DATADIR/bash-completion/completions)])],
    [bashcompdir=$withval], [bashcompdir='${datadir}/bash-completion/completions'])
AC_SUBST([bashcompdir])
AC_REQUIRE_AUX_FILE([tap-driver.sh])
AC_PROG_AWK

dnl ---- what came of it ----
AC_DEFUN([TENON_SUMMARY], [
AS_VAR_IF([tenon_have_PTHREADPOOL], [yes], [tenon_threads=pthreadpool],
    [tenon_threads="one, unless the application brings its own"])
AS_VAR_IF([enable_opencl], [yes], [tenon_opencl_why=], [enable_opencl="no: $tenon_opencl_why"])
AS_VAR_IF([enable_vulkan], [yes], [tenon_vulkan_why=], [enable_vulkan="no: $tenon_vulkan_why"])
AS_IF([test "$tenon_have_PNG$tenon_have_ZLIB" = yesyes], [tenon_fashion=yes],
    [tenon_fashion="no: needs libpng-dev and zlib1g-dev"])
AS_VAR_IF([tenon_have_DNNL], [yes], [tenon_dnnl=yes], [tenon_dnnl="no: needs libdnnl-dev"])
AS_VAR_IF([tenon_have_XNNPACK], [yes], [tenon_xnnpack=yes], [tenon_xnnpack="no: needs libxnnpack-dev"])
AC_MSG_NOTICE([

  tenon $PACKAGE_VERSION for $host
    prefix            $prefix
    compiler          $CC $CFLAGS
    sanitizers        $enable_sanitize
    CPU backend       $tenon_isas
    threads           $tenon_threads
    OpenCL backend    $enable_opencl
    Vulkan backend    $enable_vulkan
    MPFR references   $tenon_have_MPFR
    fashion example   $tenon_fashion
    oneDNN peer       $tenon_dnnl
    XNNPACK peer      $tenon_xnnpack
])
])
