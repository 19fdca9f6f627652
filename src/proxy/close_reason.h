/* Why a session ended: a row of close_reason.def each. */
#ifndef PROXY_CLOSE_REASON_H
#define PROXY_CLOSE_REASON_H

enum close_reason {
#define CLOSE(name, word, help) CLOSE_##name,
#include "proxy/close_reason.def"
#undef CLOSE
	CLOSE_REASON_COUNT
};

/* As in the log. */
const char *close_reason_word(enum close_reason reason);

#endif
