/* Runs a fuzz target over every file of a corpus folder, for compilers without libFuzzer and for
 * every test run: `replay_<target> FOLDER`. Speaks TAP, one line a file, in the order of names. A
 * file that crashes the target is the one after the last line; the plan then comes up short. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* libFuzzer's own default is 4 KiB, or the longest file of the corpus. */
#define INPUT_MAX (1u << 20)

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The file in a heap block of its exact size, so that a read beyond its end is seen. */
static uint8_t *read_file(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	struct stat st;

	if (!file)
		return NULL;
	if (fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= INPUT_MAX) {
		*ret_len = (size_t)st.st_size;
		data = malloc(*ret_len ? *ret_len : 1);
		if (data && fread(data, 1, *ret_len, file) != *ret_len) {
			free(data);
			data = NULL;
		}
	}
	fclose(file);
	return data;
}

static int replay(const char *folder, const char *name)
{
	char path[4096];
	uint8_t *data;
	size_t len;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	data = read_file(path, &len);
	if (!data)
		return -EIO;
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	struct dirent **files;
	int n, failed = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	n = scandir(argv[1], &files, not_hidden, alphasort);
	if (n <= 0) {
		printf("Bail out! %s: %s\n", argv[1], n < 0 ? strerror(errno) : "an empty corpus");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..%d\n", n);
	for (int i = 0; i < n; i++) {
		int err = replay(argv[1], files[i]->d_name);

		printf("%s %d - %s\n", err < 0 ? "not ok" : "ok", i + 1, files[i]->d_name);
		failed += err < 0;
		free(files[i]);
	}
	free(files);
	return failed ? 1 : 0;
}
