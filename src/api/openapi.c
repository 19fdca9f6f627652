/* Puts openapi.json into .rodata, as geo/embedded.c does with the country database; why so is
 * written there. */
#include "api/openapi.h"

#ifndef OPENAPI_FILE
#error "OPENAPI_FILE must be the path of openapi.json, as a string"
#endif

__asm__(".pushsection .rodata.openapi, \"a\", %progbits\n"
        ".global openapi_data\n"
        ".hidden openapi_data\n"
        ".type openapi_data, %object\n"
        "openapi_data:\n"
        ".incbin \"" OPENAPI_FILE "\"\n"
        ".Lopenapi_end:\n"
        ".size openapi_data, .Lopenapi_end - openapi_data\n"

        ".global openapi_bytes\n"
        ".hidden openapi_bytes\n"
        ".type openapi_bytes, %object\n"
        ".balign 8\n"
        "openapi_bytes:\n"
        ".8byte .Lopenapi_end - openapi_data\n"
        ".size openapi_bytes, 8\n"
        ".popsection\n");
