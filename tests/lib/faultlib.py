"""faultlib - the test's end of tests/faults/faultlib.c: what is to happen at which file operation, and whether it did."""
import mmap
import struct

FAIL, KILL, FOR_EVER, POISON = 1, 2, 3, 4
EIO, ENOSPC = 5, 28


class Control:
    """The file that faultlib.c maps: armed, count, at, mode, error, fired as 64-bit numbers, then a text."""

    def __init__(self, path):
        with open(path, 'wb') as f:
            f.write(bytes(4096))
        self.file = open(path, 'r+b')
        self.memory = mmap.mmap(self.file.fileno(), 4096)

    def arm(self, at, mode, error):
        self.memory[0:48] = struct.pack('<6q', 0, 0, at, mode, error, 0)
        self.memory[48:304] = bytes(256)
        self.memory[0:8] = struct.pack('<q', 1)

    def poison(self, name, stands_still=False):
        """Whoever opens the file of this name is ended, or stands still there."""
        self.arm(0, POISON, int(stands_still))
        self.memory[48:48 + len(name)] = name.encode()

    def fired(self):
        return struct.unpack('<q', self.memory[40:48])[0]

    def disarm(self):
        """-> (did it happen?, which operation)"""
        self.memory[0:8] = struct.pack('<q', 0)
        return bool(self.fired()), self.memory[48:304].split(b'\0')[0].decode()
