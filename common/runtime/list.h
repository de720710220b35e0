/*
 * list - settings that hold several words, separated by commas: "CT1, MR ROOM 2, *". Spaces and tabs around a word do not count, those
 * within it do. Empty words are passed over. Pure.
 */
#ifndef STORESCP_RUNTIME_LIST_H
#define STORESCP_RUNTIME_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* Copies the next word of *at and moves *at behind it; false at the end. A word that does not fit is cut to size - 1: give room for more
 * than a legal one, so that a cut one is never taken for it. */
bool list_next(const char **at, char *word, size_t size);
/* Does text, without spaces at both ends, fit one of the words? '*' and '?' are wildcards (config_fits). */
bool list_fits(const char *list, const char *text);

#endif
