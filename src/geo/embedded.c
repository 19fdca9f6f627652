/* The embedded country database: puts the file that GEO_EMBEDDED_FILE names into .rodata, so that a
 * binary alone can tell countries apart.
 *
 * The assembler reads the file, because the compiler would take seconds and a gigabyte for an array
 * of eight million numbers. What the assembler reads is in no dependency file of the compiler, so
 * the build has to see to it that this file is compiled anew when the database changes.
 *
 * The bytes are page-aligned, touched only by those who ask for them, and never written. */
#include "geo/embedded.h"

#ifndef GEO_EMBEDDED_FILE
#error "GEO_EMBEDDED_FILE must be the path of an MMDB file, as a string"
#endif

/* The symbols are global for the sake of link-time optimisation, which may split this file in two,
 * and hidden because nobody outside the binary has any business with them. */
__asm__(".pushsection .rodata.geo_embedded, \"a\", %progbits\n"
        ".global geo_embedded_data\n"
        ".hidden geo_embedded_data\n"
        ".type geo_embedded_data, %object\n"
        ".balign 4096\n"
        "geo_embedded_data:\n"
        ".incbin \"" GEO_EMBEDDED_FILE "\"\n"
        ".Lgeo_embedded_end:\n"
        ".size geo_embedded_data, .Lgeo_embedded_end - geo_embedded_data\n"

        ".global geo_embedded_bytes\n"
        ".hidden geo_embedded_bytes\n"
        ".type geo_embedded_bytes, %object\n"
        ".balign 8\n"
        "geo_embedded_bytes:\n"
        ".8byte .Lgeo_embedded_end - geo_embedded_data\n"
        ".size geo_embedded_bytes, 8\n"
        ".popsection\n");
