# Writes a text file as a C array: bytes, so that no compiler limit on string literals applies.
file(READ ${IN} HEX_TEXT HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," BYTES "${HEX_TEXT}")
file(WRITE ${OUT} "extern const char ${NAME}[];\nconst char ${NAME}[] = {${BYTES}0};\n")
