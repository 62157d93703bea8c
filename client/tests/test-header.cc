/* SPDX-License-Identifier: MIT */
/* The program of test-header.c, compiled as C++11. */
#include "test-header.c"
