/*
 * dictionary - DCMTK's data dictionary (PS3.6) behind a plain C header. It is read from DCMTK's files at the first call. Not thread safe then.
 */
#ifndef STORESCP_DICOM_DICTIONARY_H
#define STORESCP_DICOM_DICTIONARY_H

#ifdef __cplusplus
extern "C" {
#endif

/* 0: DCMTK has not found its file; then every tag is unknown. */
int dictionary_is_there(void);
/* 1: vr is that of the standard element; where several are allowed, the first. 0: unknown or private, vr is "UN". */
int dictionary_vr(unsigned group, unsigned element, char vr[3]);
/* By keyword, such as PatientName; case counts. 1: found. */
int dictionary_find(const char *keyword, unsigned *group, unsigned *element);

#ifdef __cplusplus
}
#endif
#endif
