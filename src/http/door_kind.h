/* Which doors there are: the rows of doors.def, by number and as bits. */
#ifndef HTTP_DOOR_KIND_H
#define HTTP_DOOR_KIND_H

enum door_kind {
#define DOOR(name, word, option, most) DOOR_##name,
#include "http/doors.def"
#undef DOOR
	DOOR_COUNT
};

/* As bits, for routes.def. */
enum door_bit {
#define DOOR(name, word, option, most) AT_##name = 1 << DOOR_##name,
#include "http/doors.def"
#undef DOOR
};

#endif
