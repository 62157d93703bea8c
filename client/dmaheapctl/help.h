/* SPDX-License-Identifier: MIT */
/* The verbs and what --help says about them, in one table so that none is forgotten. */
#pragma once

#include "verbs.h"

typedef struct Verb {
        const char *name;
        VerbFunction function;
        const char *arguments;
        const char *summary;
        const char *description;
        const char *options; /* its own, or NULL */
        const char *rest;    /* what comes after the options, or NULL */
} Verb;

/* Returns NULL if there is none of that name. */
const Verb *verb_find(const char *name);

void print_help(void);
void print_verb_help(const Verb *verb);
