/* Lines of agents. What must hold for every input: a good line says something, in range and with an
 * end; a line that is refused leaves the result alone. */
#include "base/check.h"
#include "fuzz.h"
#include "health/agent.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_line line;
	char *copy = malloc(size + 1); /* what is behind it is no end */

	CHECK(copy != NULL);
	memset(copy, 'x', size + 1);
	if (size > 0)
		memcpy(copy, data, size);
	memset(&line, 0x5a, sizeof(line));
	if (agent_line_parse(copy, size, &line) == 0) {
		CHECK(size > 0 && size <= AGENT_LINE_MAX);
		CHECK(line.health >= AGENT_HEALTH_SAME && line.health <= AGENT_DOWN);
		CHECK(line.admin >= AGENT_ADMIN_SAME && line.admin <= AGENT_MAINT);
		CHECK(line.weight_percent >= -1 && line.weight_percent <= 100);
		CHECK(memchr(line.why, '\0', sizeof(line.why)) != NULL);
		for (const char *p = line.why; *p != '\0'; p++)
			CHECK((unsigned char)*p >= ' ' && *p != 0x7f);
	} else {
		CHECK(line.weight_percent == 0x5a5a5a5a);
	}
	free(copy);
	return 0;
}
