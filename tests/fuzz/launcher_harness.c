/*
 * The launcher as AFL++ runs it: arguments, settings and the agent's answer from stdin, and nothing of the machine.
 *
 * stdin is three parts, each ended by the byte 0x01: words ended by NUL bytes, the text of a settings file, an answer.
 * What the launcher asks of the kernel is answered here, and what must never happen ends in abort():
 *   - a create or a run becomes the runtime without the agent's ok,
 *   - anything is written on stdout, or a line for a person is no single line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 16384
#define WORDS_MAX 64
enum { CONF_FILE = 100, LOG_FILE = 101, AGENT = 102 };

static char input[INPUT_MAX + 1];
static char *conf = input, *answer = input;
static size_t conf_length, answer_length, answer_read;
static bool asked_to_create;

static int fuzz_open(const char *path, int flags, ...)
{
    if (flags & O_CREAT)
        return LOG_FILE;
    if (strcmp(path, "/etc/floxbridge/launcher.conf") == 0)
        return CONF_FILE;
    errno = ENOENT;
    return -1;
}

static ssize_t take(void *target, size_t size, char **from, size_t *left)
{
    size_t length = *left < size ? *left : size;
    memcpy(target, *from, length);
    *from += length;
    *left -= length;
    return (ssize_t)length;
}

static ssize_t fuzz_read(int file, void *target, size_t size)
{
    return file == CONF_FILE ? take(target, size, &conf, &conf_length) : -1;
}

static ssize_t fuzz_recv(int file, void *target, size_t size, int flags)
{
    (void)file, (void)flags;
    size_t before = answer_length;
    ssize_t got = take(target, size < 7 ? size : 7, &answer, &answer_length); /* in pieces */
    answer_read += before - answer_length;
    return got;
}

static ssize_t fuzz_send(int file, const void *data, size_t size, int flags)
{
    (void)file, (void)flags;
    static const char create[] = "floxbridge/1\0create";
    asked_to_create |= size >= sizeof create && memcmp(data, create, sizeof create) == 0;
    return (ssize_t)size;
}

static ssize_t fuzz_write(int file, const void *data, size_t size)
{
    const unsigned char *text = data;
    if (file != STDERR_FILENO && file != LOG_FILE)
        abort();
    for (size_t at = 0; at < size; at++)
        if (text[at] == 0x7f || (text[at] < ' ' && (text[at] != '\n' || at + 1 != size)))
            abort();
    return (ssize_t)size;
}

static int fuzz_execv(const char *path, char *const *argv)
{
    static const char ok[] = "ok\n";
    if (path[0] != '/' || !argv[0])
        abort();
    if (asked_to_create && (answer_read != sizeof ok - 1 || memcmp(answer - answer_read, ok, sizeof ok - 1) != 0))
        abort();
    _exit(0);
}

static int zero(void) { return 0; }
#define open fuzz_open
#define read fuzz_read
#define recv fuzz_recv
#define send fuzz_send
#define write fuzz_write
#define execv fuzz_execv
#define close(file) ((void)(file), zero())
#define socket(domain, type, protocol) AGENT
#define connect(file, address, size) ((void)(address), zero())
#define shutdown(file, how) zero()
#define setsockopt(file, level, name, value, size) ((void)(value), zero())
#define readlink(path, target, size) ((void)(target), -1)
#define access(path, mode) zero()
#define nanosleep(time, left) ((void)(time), zero())
#define realpath(path, target) (strncpy(target, path, PATH_MAX - 1), (target)[PATH_MAX - 1] = '\0', (target))
#define main launcher_main
#include "../../shim_hooks/launcher/floxbridge_runc.c"
#undef main
#undef read

/* Ends the part that begins at `at`; gives where the next one begins. */
static char *part(char *at, char *end, size_t *length)
{
    char *stop = memchr(at, 1, (size_t)(end - at));
    *length = (size_t)((stop ? stop : end) - at);
    return stop ? stop + 1 : end;
}

int main(void)
{
    char *argv[WORDS_MAX + 2] = {"floxbridge-runc"};
    ssize_t size = read(STDIN_FILENO, input, INPUT_MAX);
    char *end = input + (size > 0 ? size : 0);
    size_t words_length;
    int argc = 1;

    conf = part(input, end, &words_length);
    input[words_length] = '\0';
    answer = part(conf, end, &conf_length);
    answer_length = (size_t)(end - answer);
    for (char *word = input; word < input + words_length && argc <= WORDS_MAX; word += strlen(word) + 1)
        argv[argc++] = word;
    launcher_main(argc, argv);
    abort(); /* it ends as the runtime, or with a sentence */
}
