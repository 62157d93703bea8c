/* SPDX-License-Identifier: MIT */
/* The commands, each in the file of its name. */
#pragma once

#include "options.h"

/* Runs a command. o: the options before its name; the command adds its own. argv: its part of the command line, with
 * the program's name as argv[0]. Returns an ExitStatus; with --help it returns EXIT_OK at once, and main() prints the
 * help. */
typedef int (*VerbFunction)(Options *o, int argc, char *argv[]);

int verb_list(Options *o, int argc, char *argv[]);
int verb_allocate(Options *o, int argc, char *argv[]);
int verb_usage(Options *o, int argc, char *argv[]);
int verb_clients(Options *o, int argc, char *argv[]);
int verb_buffers(Options *o, int argc, char *argv[]);
int verb_info(Options *o, int argc, char *argv[]);
int verb_monitor(Options *o, int argc, char *argv[]);
int verb_top(Options *o, int argc, char *argv[]);
