/* SPDX-License-Identifier: MIT */
/* The commands and their help. */
#pragma once

#include "verbs.h"

/* A command. The texts are printed as they are; those of more than one line end with a newline. */
typedef struct Verb {
        const char *name;
        VerbFunction function;
        const char *arguments; /* for its usage line; "" if it takes only the common options */
        const char *summary;   /* one line, for 'dmaheapctl --help' */
        const char *description;
        const char *options; /* of its own, or NULL */
        const char *rest;    /* printed below the options, or NULL */
} Verb;

/* Returns the command of that name, or NULL. */
const Verb *verb_find(const char *name);

/* Prints what --help prints, without a command and with one. */
void print_help(void);
void print_verb_help(const Verb *verb);
