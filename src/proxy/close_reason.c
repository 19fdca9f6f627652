/* The words of the reasons. */
#include "proxy/close_reason.h"

static const char *const words[] = {
#define CLOSE(name, word, help) [CLOSE_##name] = word,
#include "proxy/close_reason.def"
#undef CLOSE
};

const char *close_reason_word(enum close_reason reason)
{
	return words[reason];
}
