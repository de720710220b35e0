/* uid - see uid.h. */
#include "common/dicom/uid.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ROOT "1.2.840.10008.1.2"

static const struct dicom_ts syntaxes[] = {
    {ROOT, "Implicit VR Little Endian", "ImplicitVRLittleEndian", DICOM_TS_IMPLICIT, DICOM_TS_UNCOMPRESSED, true},
    {ROOT ".1", "Explicit VR Little Endian", "ExplicitVRLittleEndian", DICOM_TS_EXPLICIT, DICOM_TS_UNCOMPRESSED, true},
    {ROOT ".1.99", "Deflated Explicit VR Little Endian", "DeflatedExplicitVRLittleEndian", DICOM_TS_DEFLATED, DICOM_TS_LOSSLESS, true},
    {ROOT ".2", "Explicit VR Big Endian", "ExplicitVRBigEndian", DICOM_TS_BIG_ENDIAN, DICOM_TS_UNCOMPRESSED, true},
    {ROOT ".4.50", "JPEG Baseline", "JPEGBaseline8Bit", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSY, true},
    {ROOT ".4.51", "JPEG Extended", "JPEGExtended12Bit", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSY, true},
    {ROOT ".4.57", "JPEG Lossless", "JPEGLossless", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, true},
    {ROOT ".4.70", "JPEG Lossless SV1", "JPEGLosslessSV1", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, true},
    {ROOT ".4.80", "JPEG-LS Lossless", "JPEGLSLossless", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, true},
    {ROOT ".4.81", "JPEG-LS Near-Lossless", "JPEGLSNearLossless", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSY, true},
    {ROOT ".4.90", "JPEG 2000 Lossless", "JPEG2000Lossless", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, true},
    {ROOT ".4.91", "JPEG 2000", "JPEG2000", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSY, true},
    {ROOT ".4.92", "JPEG 2000 Part 2 Lossless", "JPEG2000MCLossless", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, true},
    {ROOT ".4.93", "JPEG 2000 Part 2", "JPEG2000MC", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSY, true},
    {ROOT ".4.94", "JPIP Referenced", "JPIPReferenced", DICOM_TS_EXPLICIT, DICOM_TS_REFERENCED, false},
    {ROOT ".4.95", "JPIP Referenced Deflate", "JPIPReferencedDeflate", DICOM_TS_DEFLATED, DICOM_TS_REFERENCED, false},
    {ROOT ".4.100", "MPEG-2 MP@ML", "MPEG2MPML", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.100.1", "Fragmentable MPEG-2 MP@ML", "MPEG2MPMLF", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.101", "MPEG-2 MP@HL", "MPEG2MPHL", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.101.1", "Fragmentable MPEG-2 MP@HL", "MPEG2MPHLF", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.102", "H.264 HP@4.1", "MPEG4HP41", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.102.1", "Fragmentable H.264 HP@4.1", "MPEG4HP41F", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.103", "H.264 BD HP@4.1", "MPEG4HP41BD", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.103.1", "Fragmentable H.264 BD HP@4.1", "MPEG4HP41BDF", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.104", "H.264 HP@4.2 2D", "MPEG4HP422D", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.104.1", "Fragmentable H.264 HP@4.2 2D", "MPEG4HP422DF", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.105", "H.264 HP@4.2 3D", "MPEG4HP423D", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.105.1", "Fragmentable H.264 HP@4.2 3D", "MPEG4HP423DF", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.106", "H.264 Stereo HP@4.2", "MPEG4HP42STEREO", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.106.1", "Fragmentable H.264 Stereo HP@4.2", "MPEG4HP42STEREOF", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.107", "HEVC Main@5.1", "HEVCMP51", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.108", "HEVC Main 10@5.1", "HEVCM10P51", DICOM_TS_ENCAPSULATED, DICOM_TS_VIDEO, true},
    {ROOT ".4.110", "JPEG XL Lossless", "JPEGXLLossless", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, false},
    {ROOT ".4.111", "JPEG XL JPEG Recompression", "JPEGXLJPEGRecompression", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSY, false},
    {ROOT ".4.112", "JPEG XL", "JPEGXL", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSY, true},
    {ROOT ".4.201", "HTJ2K Lossless", "HTJ2KLossless", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, true},
    {ROOT ".4.202", "HTJ2K Lossless RPCL", "HTJ2KLosslessRPCL", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, true},
    {ROOT ".4.203", "HTJ2K", "HTJ2K", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSY, true},
    {ROOT ".4.204", "JPIP HTJ2K Referenced", "JPIPHTJ2KReferenced", DICOM_TS_EXPLICIT, DICOM_TS_REFERENCED, false},
    {ROOT ".4.205", "JPIP HTJ2K Referenced Deflate", "JPIPHTJ2KReferencedDeflate", DICOM_TS_DEFLATED, DICOM_TS_REFERENCED, false},
    {ROOT ".5", "RLE Lossless", "RLELossless", DICOM_TS_ENCAPSULATED, DICOM_TS_LOSSLESS, true},
};

bool dicom_uid_is_legal(const char *uid)
{
    size_t length = strlen(uid);
    if (length == 0 || length > 64 || strspn(uid, "0123456789.") != length || uid[0] == '.' || uid[length - 1] == '.') {
        return false;
    }
    return strstr(uid, "..") == NULL;
}

bool dicom_uid_has_leading_zero(const char *uid)
{
    for (const char *p = uid; *p; p++) {
        if (p[0] == '0' && (p == uid || p[-1] == '.') && p[1] >= '0' && p[1] <= '9') {
            return true;
        }
    }
    return false;
}

bool dicom_ae_is_legal(const char *title)
{
    size_t length = strlen(title);
    for (size_t i = 0; i < length; i++) {
        if (title[i] < 0x20 || title[i] > 0x7e || title[i] == '\\') {
            return false;
        }
    }
    return length > 0 && length <= 16 && strspn(title, " ") < length;
}

const struct dicom_ts *dicom_ts_find(const char *uid)
{
    for (size_t i = 0; i < sizeof syntaxes / sizeof syntaxes[0]; i++) {
        if (strcmp(syntaxes[i].uid, uid) == 0) {
            return &syntaxes[i];
        }
    }
    return NULL;
}

const struct dicom_ts *dicom_ts_find_keyword(const char *keyword)
{
    for (size_t i = 0; i < sizeof syntaxes / sizeof syntaxes[0]; i++) {
        if (strcasecmp(syntaxes[i].keyword, keyword) == 0) {
            return &syntaxes[i];
        }
    }
    return NULL;
}

bool dicom_ts_is_standard(const char *uid)
{
    size_t root = strlen(ROOT);
    return strncmp(uid, ROOT, root) == 0 && (uid[root] == '\0' || uid[root] == '.') && dicom_uid_is_legal(uid);
}

enum dicom_ts_kind dicom_ts_kind_of(const char *uid)
{
    const struct dicom_ts *known = dicom_ts_find(uid);
    return known ? known->kind : DICOM_TS_EXPLICIT;
}

bool dicom_integer(const char *text, char *out, size_t size)
{
    enum { IS_MAX = 12 };
    char *end = NULL;
    size_t length = strlen(text);
    bool is_number = length > 0 && length <= IS_MAX && strspn(text, "+-0123456789") == length;
    long long value = is_number ? strtoll(text, &end, 10) : 0;
    is_number = is_number && end && *end == '\0';
    if (is_number) {
        (void)snprintf(out, size, "%lld", value);
    } else {
        out[0] = '\0';
    }
    return is_number;
}
