/*
 * rule_table - the rules by which an instance is judged: X(id, source, severity, code, means, remedy). docs/rules.md is made of it.
 *
 *   id        one word, stable: it stands in state.db (table finding) and in the setting `rules`
 *   source    where the rule comes from; "AHI 0xB...": HealthImaging imports it with that warning; "AHI": it cannot place it otherwise
 *   severity  as delivered: REJECT quarantines, WARN and NOTE let it pass; ALWAYS is REJECT and cannot be changed
 *   code      with which a reject quarantines
 *   means     what is wrong, for people; never a value of a data set
 *   remedy    what a person presses or asks for
 * They stand in the order in which they are looked at: the first one that rejects gives the error of the instance.
 */
#ifndef STORESCP_RUNTIME_RULE_TABLE_H
#define STORESCP_RUNTIME_RULE_TABLE_H

/* clang-format off */
/* What the reader of the header found out by itself: it had to stop there. */
#define RULE_TABLE_READER(X) \
    X(readable, "PS3.10 7.1, PS3.5 7", ALWAYS, ERR_DICOM_UNREADABLE, \
      "the file is no Part 10 file, is damaged, or is not in the transfer syntax that it states", "have the sender export it again, in the transfer syntax that it negotiates") \
    X(complete, "PS3.5 7.1, A.4", ALWAYS, ERR_DICOM_TRUNCATED, \
      "the file ends inside an element, a sequence or the pixel data", "have it sent again; if it comes again like this, it is cut at its source") \
    X(bounded, "ours: 64 nested sequences, 2,000,000 elements and items, 1 GiB inflated", ALWAYS, ERR_DICOM_LIMIT, \
      "the data set nests deeper or holds more than any image does", "look at what sent it: no modality makes such a file") \
    X(readable_syntax, "PS3.5 A.4", ALWAYS, ERR_DICOM_SYNTAX, \
      "the data set cannot be read and its transfer syntax is none of the standard's", "have it sent in a transfer syntax of the standard")

/* What is judged on what was read. */
#define RULE_TABLE_FACTS(X) \
    X(sop_class_missing, "PS3.3 C.12.1, AHI", ALWAYS, ERR_DICOM_MISSING, \
      "(0008,0016) SOP Class UID is missing or empty", "have the sender fill it and send again") \
    X(sop_instance_missing, "PS3.3 C.12.1, AHI", ALWAYS, ERR_DICOM_MISSING, \
      "(0008,0018) SOP Instance UID is missing or empty", "have the sender fill it and send again") \
    X(study_missing, "PS3.3 C.7.2.1, AHI", ALWAYS, ERR_DICOM_MISSING, \
      "(0020,000D) Study Instance UID is missing or empty", "have the sender fill it and send again") \
    X(series_missing, "PS3.3 C.7.3.1, AHI", ALWAYS, ERR_DICOM_MISSING, \
      "(0020,000E) Series Instance UID is missing or empty", "have the sender fill it and send again") \
    X(uid_unusable, "PS3.5 9.1", ALWAYS, ERR_DICOM_UID, \
      "a UID that identifies the image has more than 64 characters or a NUL inside: another image could be taken for it", "have the sender correct it") \
    X(uid_illegal, "PS3.5 9.1, AHI 0xB201", REJECT, ERR_DICOM_UID, \
      "a UID that identifies the image is not made of digits and dots", "have the sender correct it") \
    X(same_class, "PS3.4 B.2, PS3.10 7.1", REJECT, ERR_DICOM_MISMATCH, \
      "(0008,0016) SOP Class UID of the data set is not that of the C-STORE request", "correct the sender") \
    X(same_instance, "PS3.4 B.2, PS3.10 7.1", REJECT, ERR_DICOM_MISMATCH, \
      "(0008,0018) SOP Instance UID of the data set is not that of the C-STORE request", "correct the sender") \
    X(transfer_syntax, "PS3.5 A, AHI", REJECT, ERR_DICOM_SYNTAX, \
      "(0002,0010) Transfer Syntax UID is missing or none of the standard's", "have the sender convert before it sends") \
    X(transfer_syntax_blob, "AHI 0xB120", WARN, ERR_DICOM_RULE, \
      "HealthImaging keeps this transfer syntax as a blob, without frames", "have it sent in another transfer syntax (conformance statement) if its frames are needed") \
    X(uid_leading_zero, "PS3.5 9.1, AHI 0xB201", WARN, ERR_DICOM_RULE, \
      "a UID has a leading zero", "nothing; tell the manufacturer") \
    X(identity_twice, "PS3.5 7.1", WARN, ERR_DICOM_RULE, \
      "an identifying attribute stands twice, the first one counts", "have the sender corrected: others may take the second one") \
    X(value_long, "AHI: element constraints, 0xB202", WARN, ERR_DICOM_RULE, \
      "a value is longer than HealthImaging searches by", "have it entered shorter") \
    X(patient_id_missing, "AHI: grouping of image sets", NOTE, ERR_DICOM_RULE, \
      "(0010,0020) Patient ID is missing or empty: HealthImaging groups by it", "have it filled where the image is made") \
    X(date_illegal, "PS3.5 6.2 (DA)", NOTE, ERR_DICOM_RULE, \
      "(0008,0020) Study Date is no date: it is not found by date", "have the sender corrected") \
    X(charset_unknown, "PS3.3 C.12.1.1.2", WARN, ERR_DICOM_RULE, \
      "(0008,0005) Specific Character Set names none of the standard's: names may be shown wrong", "have the sender corrected") \
    X(charset_text, "PS3.5 6.1, 6.2.2", WARN, ERR_DICOM_RULE, \
      "an identifying text is not in the data set's character set: it is shown and found wrong", "set the sender's character set; what is there already can be corrected in HealthImaging") \
    X(text_control, "PS3.5 6.1.3", NOTE, ERR_DICOM_RULE, \
      "an identifying text holds control characters", "have it entered anew where it comes from") \
    X(pixel_missing, "PS3.3 C.7.6.3", WARN, ERR_DICOM_RULE, \
      "an image class without pixel data", "look at it at the sender: an image is missing here") \
    X(pixel_empty, "PS3.3 C.7.6.3, AHI 0xB110", WARN, ERR_DICOM_RULE, \
      "the pixel data is empty", "have it sent again") \
    X(pixel_encoding, "PS3.5 A.4, 8.2, AHI 0xB110", WARN, ERR_DICOM_RULE, \
      "the pixel data is not encoded as its transfer syntax says (native instead of in fragments, or in fragments instead of native)", "have the sender convert before it sends") \
    X(pixel_description, "PS3.3 C.7.6.3, AHI 0xB110", WARN, ERR_DICOM_RULE, \
      "rows, columns, samples or bits of the pixel data are missing or no numbers", "have it sent again; nobody can show it as it is") \
    X(frames_illegal, "PS3.3 C.7.6.6, AHI 0xB111", WARN, ERR_DICOM_RULE, \
      "(0028,0008) Number of Frames is not a positive number", "have the sender corrected") \
    X(pixel_short, "PS3.5 8.1.1, AHI 0xB110", WARN, ERR_DICOM_RULE, \
      "the pixel data is shorter than rows x columns x samples x bits x frames", "have it sent again; frames are missing or cut") \
    X(pixel_long, "PS3.5 8.1.1", NOTE, ERR_DICOM_RULE, \
      "the pixel data is longer than rows x columns x samples x bits x frames and its padding", "nothing, if the image looks right") \
    X(fragment_count, "PS3.5 A.4, AHI 0xB111", WARN, ERR_DICOM_RULE, \
      "the pixel data has fewer fragments than frames, or in RLE not one for each", "have it sent again; frames are missing") \
    X(fragment_empty, "PS3.5 A.4", NOTE, ERR_DICOM_RULE, \
      "a fragment of the pixel data is empty", "nothing, if the image looks right") \
    X(offset_table, "PS3.5 A.4, PS3.3 C.7.6.3.1.8, AHI 0xB112", WARN, ERR_DICOM_RULE, \
      "the table of frame offsets does not point to the beginnings of fragments, or has not one for each frame", "have it sent with an empty table, or with a right one") \
    X(odd_length, "PS3.5 7.1.1", WARN, ERR_DICOM_RULE, \
      "a value has an odd length", "nothing; tell the manufacturer") \
    X(tag_twice, "PS3.5 7.1", WARN, ERR_DICOM_RULE, \
      "an element stands twice in the data set", "have the sender corrected: readers differ in which one they take") \
    X(tag_order, "PS3.5 7.1", NOTE, ERR_DICOM_RULE, \
      "the elements are not in the order of their tags", "nothing; tell the manufacturer") \
    X(group_length, "PS3.5 7.2", NOTE, ERR_DICOM_RULE, \
      "a group length is wrong; it was not used", "nothing; tell the manufacturer") \
    X(private_class, "PS3.4 B.5", NOTE, ERR_DICOM_RULE, \
      "a private SOP class: others cannot show it", "nothing, if it is wanted; refused_sop_classes keeps it out") \
    X(no_frames, "PS3.3 A.1.4", NOTE, ERR_DICOM_RULE, \
      "no image but a document, report, waveform, plan or the like: HealthImaging keeps it without frames", "nothing")

#define RULE_TABLE(X) RULE_TABLE_READER(X) RULE_TABLE_FACTS(X)
/* clang-format on */

#endif
