/*
 * s3_key - the key of an image's object, made from a template (setting s3_key_template). Pure.
 *
 *   {prefix} s3_prefix              {batch} {id}   our ids, 26 characters        {study} {series} {sop} {class}   UIDs
 *   {modality} {calling_ae} {called_ae}            {yyyy} {mm} {dd} {time}       of the reception, UTC; time is HHMMSS
 *
 * What is put in is cleaned to [A-Za-z0-9._-] (anything else becomes '_', a dot at the beginning too), empty becomes "none", so that a key never
 * holds a character that HealthImaging or a listing might write in another way, and no value reaches into another folder.
 * A key is made once, when the instance is first claimed for its upload, and is in state.db before anything is sent; nothing is made twice from a
 * template that has changed meanwhile. Limit: 1,024 bytes (S3, "Object key names").
 */
#ifndef STORESCP_AWS_S3_KEY_H
#define STORESCP_AWS_S3_KEY_H

#include "common/runtime/config.h"
#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { S3_KEY_SIZE = 1025 };

struct s3_key_values {
    const char *prefix; /* taken as it is: slashes are wanted there */
    const char *batch, *id, *study, *series, *sop, *class_uid, *modality, *calling_ae, *called_ae;
    int64_t received_ms;
};

/* Is the template one that may be used? ERR_CONFIG with a sentence that does not name the setting.
 * for_import: HealthImaging reads what lies under <prefix>/<batch>/ and names the keys in its results, so that is how it must begin, and it must end in
 * {id}.dcm. Otherwise two images must not meet under one key unless S3 is asked not to overwrite (no_overwrite). */
int s3_key_check(const char *template, bool for_import, bool no_overwrite, struct err *e);
/* ERR_CONFIG if the template is wrong. */
int s3_key_make(const char *template, const struct s3_key_values *values, char out[S3_KEY_SIZE], struct err *e);
/* The key to take when another object lies under this one: "<stem>-<id>.dcm". false: it names the id already (then nothing but the instance's own object
 * should have been there). */
bool s3_key_beside(const char *key, const char *id, char out[S3_KEY_SIZE]);
/* The length of the batch's folder in a key of it, "<prefix>/<batch>/"; 0 if it does not lie in one. */
size_t s3_key_folder(const char *key, const char *batch);

/* The template of a destination: the setting, or where nothing is imported and nobody has set one, {prefix}/{study}/{id}.dcm. */
const char *s3_key_template(const struct config *c);
/* s3_prefix and s3_key_template of a destination: ERR_CONFIG with a sentence that names the setting and where it was set. */
int s3_key_settings(const struct config *config, struct err *e);

#endif
