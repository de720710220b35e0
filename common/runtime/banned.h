/*
 * banned - functions that have no place in this product are compile errors. Included before every C file by CMake.
 * strcpy, strcat, sprintf, vsprintf, gets: no bound. strtok, gmtime, localtime, ctime, asctime: hidden shared state.
 * system, popen: a shell sees text from outside. tmpnam, mktemp: a race.
 */
#ifndef STORESCP_RUNTIME_BANNED_H
#define STORESCP_RUNTIME_BANNED_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf
#undef strtok
#pragma GCC poison strcpy strcat sprintf vsprintf gets strtok gmtime localtime ctime asctime system popen tmpnam mktemp
#endif
