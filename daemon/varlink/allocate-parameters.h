/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "request.h"

/* Validates parameters from a client. Returns NULL, or the interface's name of the first invalid one. */
const char *allocate_parameters_check(const AllocateParameters *parameters);
