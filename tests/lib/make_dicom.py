#!/usr/bin/env python3
"""make_dicom DIR COUNT PIXEL_BYTES [SEED] - writes COUNT legal CT Image Storage files of one synthetic study, named by SOP Instance UID."""
import os
import random
import struct
import sys


def element(group, number, vr, value):
    if len(value) % 2:
        value += b'\0' if vr in ('UI', 'OB') else b' '
    head = struct.pack('<HH', group, number) + vr.encode()
    if vr in ('OB', 'OW', 'SQ', 'UN', 'UT'):
        return head + b'\0\0' + struct.pack('<I', len(value)) + value
    return head + struct.pack('<H', len(value)) + value


def make(study, series, number, pixel_bytes, rng):
    sop = f'{series}.{number}'
    ct = '1.2.840.10008.5.1.4.1.1.2'
    us = lambda n: struct.pack('<H', n)
    columns = 256
    rows = max(1, pixel_bytes // 2 // columns)
    meta = (element(2, 1, 'OB', b'\0\1') + element(2, 2, 'UI', ct.encode()) + element(2, 3, 'UI', sop.encode())
            + element(2, 0x10, 'UI', b'1.2.840.10008.1.2.1') + element(2, 0x12, 'UI', b'2.25.1'))
    data = b''.join([
        element(8, 0x16, 'UI', ct.encode()), element(8, 0x18, 'UI', sop.encode()), element(8, 0x20, 'DA', b'20260102'),
        element(8, 0x30, 'TM', b'030405'), element(8, 0x50, 'SH', b'SYN0001'), element(8, 0x60, 'CS', b'CT'),
        element(8, 0x90, 'PN', b''), element(0x10, 0x10, 'PN', b'SYNTHETIC^ONE'), element(0x10, 0x20, 'LO', b'SYN-1'),
        element(0x10, 0x30, 'DA', b''), element(0x10, 0x40, 'CS', b'O'), element(0x20, 0xd, 'UI', study.encode()),
        element(0x20, 0xe, 'UI', series.encode()), element(0x20, 0x10, 'SH', b'1'), element(0x20, 0x11, 'IS', b'1'),
        element(0x20, 0x13, 'IS', str(number).encode()), element(0x28, 2, 'US', us(1)), element(0x28, 4, 'CS', b'MONOCHROME2'),
        element(0x28, 0x10, 'US', us(rows)), element(0x28, 0x11, 'US', us(columns)), element(0x28, 0x100, 'US', us(16)),
        element(0x28, 0x101, 'US', us(12)), element(0x28, 0x102, 'US', us(11)), element(0x28, 0x103, 'US', us(0)),
        element(0x7fe0, 0x10, 'OW', rng.randbytes(rows * columns * 2))])
    return sop, b'\0' * 128 + b'DICM' + element(2, 0, 'UL', struct.pack('<I', len(meta))) + meta + data


def main():
    directory, count, pixel_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    rng = random.Random(seed)
    os.makedirs(directory, exist_ok=True)
    study = f'2.25.{rng.getrandbits(100)}'
    for number in range(1, count + 1):
        sop, content = make(study, study + '.1', number, pixel_bytes, rng)
        with open(os.path.join(directory, sop + '.dcm'), 'wb') as out:
            out.write(content)


main()
