/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/macro.h"

/* Singly linked lists of structures that have a member `next`. A list is a pointer to its first item, NULL when empty:
 *
 *         struct Thing { Thing *next; … };        Thing *things = NULL;
 *
 * `list` is that pointer, as an lvalue; `item` is a pointer to an item. Each argument is evaluated once. The list does
 * not own its items. Walk it with for (Thing *t = things; t; t = t->next); a walk whose body may remove t reads t->next
 * first. Adding at the end and removing take time proportional to the length. */

/* Adds an item, which is in no list, as the first, or as the last. */
#define LIST_PREPEND(list, item)               \
        ({                                     \
                typeof(list) *_list = &(list); \
                typeof(list) _item = (item);   \
                _item->next = *_list;          \
                *_list = _item;                \
        })

#define LIST_APPEND(list, item)                    \
        ({                                         \
                typeof(list) *_place = &(list);    \
                typeof(list) _item = (item);       \
                while (*_place)                    \
                        _place = &(*_place)->next; \
                _item->next = NULL;                \
                *_place = _item;                   \
        })

/* Removes an item. Returns true if it was in the list; false, and nothing is changed, if it was not. */
#define LIST_REMOVE(list, item)                     \
        ({                                          \
                typeof(list) *_place = &(list);     \
                typeof(list) _item = (item);        \
                while (*_place && *_place != _item) \
                        _place = &(*_place)->next;  \
                bool _found = *_place != NULL;      \
                if (_found) {                       \
                        *_place = _item->next;      \
                        _item->next = NULL;         \
                }                                   \
                _found;                             \
        })

/* Removes the first item and returns it; NULL if the list is empty. */
#define LIST_TAKE_FIRST(list)                  \
        ({                                     \
                typeof(list) *_list = &(list); \
                typeof(list) _first = *_list;  \
                if (_first) {                  \
                        *_list = _first->next; \
                        _first->next = NULL;   \
                }                              \
                _first;                        \
        })
