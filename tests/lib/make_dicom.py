#!/usr/bin/env python3
"""make_dicom DIR COUNT PIXEL_BYTES [SEED] [CT|MR] - writes COUNT legal single-frame files of one synthetic study, named by SOP Instance UID.

Part 10, explicit little endian. The same arguments give the same bytes. The patient does not exist. As a module: study_uid(), make()."""
import os
import random
import struct
import sys

SOP_CLASS = {'CT': '1.2.840.10008.5.1.4.1.1.2', 'MR': '1.2.840.10008.5.1.4.1.1.4'}
EXPLICIT_LE = '1.2.840.10008.1.2.1'
COLUMNS = 256


def element(group, number, vr, value):
    if isinstance(value, str):
        value = value.encode()
    if len(value) % 2:
        value += b'\0' if vr in ('UI', 'OB') else b' '
    head = struct.pack('<HH', group, number) + vr.encode()
    if vr in ('OB', 'OW', 'SQ', 'UN', 'UT'):
        return head + b'\0\0' + struct.pack('<I', len(value)) + value
    return head + struct.pack('<H', len(value)) + value


def us(number):
    return struct.pack('<H', number)


def study_uid(seed):
    return f'2.25.{random.Random(seed).getrandbits(100)}'


def own_elements(modality, number):
    """What only CT or only MR has, as (group, number, encoded)."""
    if modality == 'CT':
        return [(0x18, 0x60, element(0x18, 0x60, 'DS', '120')), (0x28, 0x1052, element(0x28, 0x1052, 'DS', '-1024')),
                (0x28, 0x1053, element(0x28, 0x1053, 'DS', '1'))]
    return [(0x18, 0x20, element(0x18, 0x20, 'CS', 'SE')), (0x18, 0x21, element(0x18, 0x21, 'CS', 'NONE')),
            (0x18, 0x22, element(0x18, 0x22, 'CS', '')), (0x18, 0x23, element(0x18, 0x23, 'CS', '2D')),
            (0x18, 0x80, element(0x18, 0x80, 'DS', '500')), (0x18, 0x81, element(0x18, 0x81, 'DS', '15'))]


def make(study, series, number, pixel_bytes, rng, modality='CT'):
    """-> (SOP Instance UID, whole file)"""
    sop, sop_class = f'{series}.{number}', SOP_CLASS[modality]
    columns = COLUMNS if pixel_bytes < 32 << 20 else 16 * COLUMNS  # Rows has 16 bits
    rows = max(1, pixel_bytes // 2 // columns)
    meta = (element(2, 1, 'OB', b'\0\1') + element(2, 2, 'UI', sop_class) + element(2, 3, 'UI', sop)
            + element(2, 0x10, 'UI', EXPLICIT_LE) + element(2, 0x12, 'UI', '2.25.1'))
    values = [
        (8, 0x08, 'CS', 'ORIGINAL\\PRIMARY\\' + ('AXIAL' if modality == 'CT' else 'OTHER')), (8, 0x16, 'UI', sop_class), (8, 0x18, 'UI', sop),
        (8, 0x20, 'DA', '20260102'), (8, 0x30, 'TM', '030405'), (8, 0x50, 'SH', 'SYN' + study[-6:]), (8, 0x60, 'CS', modality),
        (8, 0x70, 'LO', 'SYNTHETIC'), (8, 0x90, 'PN', ''), (0x10, 0x10, 'PN', 'SYNTHETIC^ONE'), (0x10, 0x20, 'LO', 'SYN-1'),
        (0x10, 0x30, 'DA', ''), (0x10, 0x40, 'CS', 'O'), (0x18, 0x50, 'DS', '1'), (0x20, 0xd, 'UI', study), (0x20, 0xe, 'UI', series),
        (0x20, 0x10, 'SH', '1'), (0x20, 0x11, 'IS', '1'), (0x20, 0x13, 'IS', str(number)), (0x20, 0x32, 'DS', f'0\\0\\{number}'),
        (0x20, 0x37, 'DS', '1\\0\\0\\0\\1\\0'), (0x20, 0x52, 'UI', study + '.9'), (0x20, 0x1040, 'LO', ''), (0x28, 2, 'US', us(1)),
        (0x28, 4, 'CS', 'MONOCHROME2'), (0x28, 0x10, 'US', us(rows)), (0x28, 0x11, 'US', us(columns)), (0x28, 0x30, 'DS', '1\\1'),
        (0x28, 0x100, 'US', us(16)), (0x28, 0x101, 'US', us(12)), (0x28, 0x102, 'US', us(11)), (0x28, 0x103, 'US', us(0)),
        (0x7fe0, 0x10, 'OW', rng.randbytes(rows * columns * 2))]
    elements = [(group, tag, element(group, tag, vr, value)) for group, tag, vr, value in values] + own_elements(modality, number)
    data = b''.join(encoded for _, _, encoded in sorted(elements))
    return sop, b'\0' * 128 + b'DICM' + element(2, 0, 'UL', struct.pack('<I', len(meta))) + meta + data


def main():
    directory, count, pixel_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    modality = sys.argv[5] if len(sys.argv) > 5 else 'CT'
    rng = random.Random(seed)
    os.makedirs(directory, exist_ok=True)
    study = study_uid(seed)
    for number in range(1, count + 1):
        sop, content = make(study, f'{study}.{1 if modality == "CT" else 2}', number, pixel_bytes, rng, modality)
        with open(os.path.join(directory, sop + '.dcm'), 'wb') as out:
            out.write(content)


if __name__ == '__main__':
    main()
