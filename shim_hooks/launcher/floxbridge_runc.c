/*
 * floxbridge-runc: the launcher, the small static program in runc's seat (design 8.1).
 *
 * It looks at its arguments only. `create` and `run` are told to the agent and wait for its answer, `exec --process` is
 * told and waits a little, `delete` is told and waits for nothing; every other verb is exec'd at once. It parses no
 * JSON, prints nothing on stdout, takes no setting from the caller's environment and allocates no memory. When the
 * agent refuses or does not answer, `create` ends with one line in runc's --log file (containerd shows it to the user),
 * the same sentence on stderr, and exit 1; `exec` and `delete` go on without it. An agent that is being started again
 * is waited for by `create` and, a little, by `exec`.
 *
 * Settings: `<this program>.conf` beside it, else /etc/floxbridge/launcher.conf, else the defaults below. Lines are
 * `key=value`; keys are runtime (a path, or a name looked up in RUNTIME_PATH), socket and deadline_ms.
 *
 * What it says to the agent, over a unix stream socket (the other side is shim_hooks/launcher_protocol.py):
 *   request  fields, each ended by a NUL byte; the end of the stream ends the request; at most REQUEST_MAX bytes:
 *              floxbridge/1  create  <bundle: absolute path>  <container id>  <deadline in ms>  [<root>]
 *              floxbridge/1  exec    <process file: absolute path>  <container id>  <deadline in ms>  [<root>]
 *              floxbridge/1  delete  <container id>
 *            (`run` is told as create: to the agent they are one thing; root is the runtime's --root, if it is given
 *            one: ids are unique among the containers of one root)
 *   answer   "ok\n", or "error <one sentence>\n"; none at all is an agent that was stopped meanwhile: the next one is
 *            asked. Anything else is an agent that broke off. To delete there is none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONF_PATH "/etc/floxbridge/launcher.conf"
#define RUNTIME_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CONF_MAX 4096
#define SENTENCE_MAX 4096
#define REQUEST_MAX (3 * PATH_MAX + 128)
#define DEADLINE_MAX_MS 3600000L
#define CREATE_PATIENCE_MS 10000L /* with an agent that is away: it may be restarting, and kubelet has time */
#define EXEC_DEADLINE_MS 2000L /* an exec probe is given one second by default: more would help nobody */
#define EXEC_PATIENCE_MS 500L /* the same for exec: half a probe's time is left */
#define ASKED_AGAIN_MAX 3 /* agents that break off: one that this very request kills is not to be killed for ever */
#define PAUSE_MS 20L

struct settings {
    char runtime[PATH_MAX];
    char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
    long deadline_ms;
    char problem[PATH_MAX + 256]; /* the first thing wrong with the conf file, or "" */
};

/* What the arguments say; pointers into argv. */
struct call {
    const char *verb, *root, *log, *log_format, *bundle, *process, *id;
    bool foreign_config; /* crun's `create --config FILE`: another file than the bundle's */
    bool asks_help;
};

static void copy_text(char *target, size_t size, const char *source)
{
    size_t length = strnlen(source, size - 1);
    memcpy(target, source, length);
    target[length] = '\0';
}

/* ---- the message for a person ---- */

/* Bytes of the UTF-8 character at `text`, or 0 when there is none of the well-formed ones. */
static int utf8_length(const unsigned char *text)
{
    int length = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : text[0] < 0xf5 ? 4 : 0;
    for (int n = 1; n < length; n++)
        if ((text[n] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

/* One line of valid UTF-8 without control characters: it goes into JSON, a terminal and the pod's events. */
static void clean(char *sentence)
{
    unsigned char *at = (unsigned char *)sentence;
    while (*at) {
        int length = utf8_length(at);
        if (length == 0 || *at == 0x7f)
            *at = '?';
        else if (*at < ' ')
            *at = ' ';
        at += length ? length : 1;
    }
}

static void write_all(int file, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t done = write(file, text, length);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return; /* the message has no other way out */
        text += done;
        length -= (size_t)done;
    }
}

/* A caller may have closed 0, 1 or 2: what is opened here must not take their place. */
static int above_stdio(int file)
{
    if (file < 0 || file > STDERR_FILENO)
        return file;
    int higher = fcntl(file, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int problem = errno;
    close(file);
    errno = problem;
    return higher;
}

/* A cleaned sentence as the inside of a JSON string; logfmt's quotes want the same. */
static void write_quoted(char *target, const char *sentence)
{
    for (; *sentence; *target++ = *sentence++)
        if (*sentence == '"' || *sentence == '\\')
            *target++ = '\\';
    *target = '\0';
}

/* Appends the line that containerd and conmon look for; the file is opened as runc itself opens it. */
static void write_log_line(const struct call *call, const char *sentence)
{
    static char quoted[2 * SENTENCE_MAX + 1], line[sizeof quoted + 128];
    char now[32] = "1970-01-01T00:00:00Z";
    time_t seconds = time(NULL);
    struct tm utc;
    const char *path = call->log;

    if (path && strncmp(path, "file:", 5) == 0) /* crun's spelling */
        path += 5;
    if (!path || !*path || strncmp(path, "journald:", 9) == 0 || strncmp(path, "syslog:", 7) == 0)
        return;
    int file = above_stdio(open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
    if (file < 0)
        return;
    if (gmtime_r(&seconds, &utc))
        strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc);
    write_quoted(quoted, sentence);
    if (call->log_format && strcmp(call->log_format, "json") == 0)
        snprintf(line, sizeof line, "{\"level\":\"error\",\"msg\":\"%s\",\"time\":\"%s\"}\n", quoted, now);
    else
        snprintf(line, sizeof line, "time=\"%s\" level=error msg=\"%s\"\n", now, quoted);
    write_all(file, line, strlen(line));
    close(file);
}

__attribute__((format(printf, 2, 3), noreturn)) static void fail(const struct call *call, const char *format, ...)
{
    static char sentence[SENTENCE_MAX + 1];
    va_list values;
    va_start(values, format);
    vsnprintf(sentence, SENTENCE_MAX, format, values);
    va_end(values);
    clean(sentence);
    write_log_line(call, sentence);
    size_t length = strlen(sentence);
    sentence[length++] = '\n';
    write_all(STDERR_FILENO, sentence, length);
    _exit(1);
}

/* ---- settings ---- */

__attribute__((format(printf, 2, 3))) static void blame(struct settings *settings, const char *format, ...)
{
    if (settings->problem[0])
        return;
    va_list values;
    va_start(values, format);
    vsnprintf(settings->problem, sizeof settings->problem, format, values);
    va_end(values);
}

static void set_deadline(struct settings *settings, const char *path, const char *value)
{
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || errno || number < 1 || number > DEADLINE_MAX_MS)
        blame(settings, "%s: deadline_ms=%.40s is not a number from 1 to %ld", path, value, DEADLINE_MAX_MS);
    else
        settings->deadline_ms = number;
}

static void set_one(struct settings *settings, const char *path, const char *key, const char *value)
{
    size_t length = strlen(value);
    if (strcmp(key, "runtime") == 0) {
        if (!length || length >= sizeof settings->runtime || (value[0] != '/' && strchr(value, '/')))
            blame(settings, "%s: runtime=%.100s is neither an absolute path nor a bare name", path, value);
        else
            copy_text(settings->runtime, sizeof settings->runtime, value);
    } else if (strcmp(key, "socket") == 0) {
        if (value[0] != '/' || length >= sizeof settings->socket)
            blame(settings, "%s: socket=%.120s is not an absolute path of at most %zu bytes", path, value,
                  sizeof settings->socket - 1);
        else
            copy_text(settings->socket, sizeof settings->socket, value);
    } else if (strcmp(key, "deadline_ms") == 0) {
        set_deadline(settings, path, value);
    } else {
        blame(settings, "%s: no setting is called '%.60s'; there are runtime, socket and deadline_ms", path, key);
    }
}

static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]))
        text[--length] = '\0';
    return text;
}

static void parse_conf(struct settings *settings, const char *path, char *text)
{
    for (char *line = strsep(&text, "\n"); line; line = strsep(&text, "\n")) {
        line = trim(line);
        if (!*line || *line == '#')
            continue;
        char *equals = strchr(line, '=');
        if (!equals) {
            blame(settings, "%s: want key=value, got '%.60s'", path, line);
            continue;
        }
        *equals = '\0';
        set_one(settings, path, trim(line), trim(equals + 1));
    }
}

/* False when there is no such file, so that the next place is looked at. */
static bool read_conf(struct settings *settings, const char *path)
{
    char text[CONF_MAX + 1];
    size_t length = 0;
    ssize_t got;
    int file = above_stdio(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (file < 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG)
            return false;
        blame(settings, "%s cannot be opened: %s", path, strerror(errno));
        return true;
    }
    while ((got = read(file, text + length, sizeof text - length)) > 0)
        length += (size_t)got;
    if (got < 0)
        blame(settings, "%s cannot be read: %s", path, strerror(errno));
    close(file);
    if (length > CONF_MAX || memchr(text, '\0', length)) {
        blame(settings, "%s is longer than %d bytes or no text", path, CONF_MAX);
        return true;
    }
    text[length] = '\0';
    parse_conf(settings, path, text);
    return true;
}

/* The conf beside the program itself: what the kernel says it is, never argv[0], which the caller chooses. */
static void read_settings(struct settings *settings)
{
    static const char gone[] = " (deleted)"; /* replaced by an upgrade a moment ago */
    char path[PATH_MAX + 8];
    copy_text(settings->runtime, sizeof settings->runtime, "runc");
    copy_text(settings->socket, sizeof settings->socket, "/run/floxbridge/agent.sock");
    settings->deadline_ms = 110000; /* kubelet gives CreateContainer 120 s */
    settings->problem[0] = '\0';
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    if (length > 0 && length < PATH_MAX) {
        size_t tail = sizeof gone - 1, end = (size_t)length;
        if (end > tail && memcmp(path + end - tail, gone, tail) == 0)
            end -= tail;
        memcpy(path + end, ".conf", sizeof ".conf");
        if (read_conf(settings, path))
            return;
    }
    read_conf(settings, CONF_PATH);
}

/* ---- arguments ---- */

static bool listed(const char *const *list, const char *name, size_t length)
{
    for (; *list; list++)
        if (strlen(*list) == length && memcmp(*list, name, length) == 0)
            return true;
    return false;
}

static const char *const VERBS[] = {"checkpoint", "create", "delete", "events", "exec", "features", "kill", "list",
                                    "pause", "ps", "restore", "resume", "run", "spec", "start", "state", "update", NULL};
static const char *const GLOBAL_VALUES[] = {"root", "log", "log-format", "criu", "rootless", "cgroup-manager", NULL};
static const char *const GLOBAL_SWITCHES[] = {"debug", "systemd-cgroup", "help", "h", "version", "v", "usage", NULL};
static const char *const VERB_VALUES[] = {"console-socket", "pid-file", "pidfd-socket", "preserve-fds", "f", NULL};

/* One flag at argv[*at]: its name without dashes, and its value, from `--name=value` or from the next word. */
struct flag {
    const char *name, *value;
    size_t length;
};

static struct flag split_flag(const char *word)
{
    word += word[1] == '-' ? 2 : 1;
    const char *equals = strchr(word, '=');
    return (struct flag){word, equals ? equals + 1 : NULL, equals ? (size_t)(equals - word) : strlen(word)};
}

static bool is_flag(const char *word) { return word[0] == '-' && word[1] != '\0'; }

static bool named(struct flag flag, const char *name)
{
    return flag.length == strlen(name) && memcmp(flag.name, name, flag.length) == 0;
}

/* argp takes any beginning of a long name that is long enough to be nobody else's. */
static bool abbreviates(struct flag flag, const char *name, size_t shortest)
{
    return flag.length >= shortest && flag.length <= strlen(name) && memcmp(flag.name, name, flag.length) == 0;
}

/*
 * Reads the flags before the verb; gives the index of the verb, or argc. Go's flag package and argp both stop at the
 * first word that is no flag. A flag that neither runc nor crun has today may or may not take the next word: it is
 * taken for its value unless it is a verb, because a `create` that is overlooked would run without its environment.
 */
static int read_global_flags(struct call *call, int argc, char **argv)
{
    int at = 1;
    for (; at < argc && is_flag(argv[at]); at++) {
        if (strcmp(argv[at], "--") == 0)
            return at + 1;
        struct flag flag = split_flag(argv[at]);
        const char *next = at + 1 < argc ? argv[at + 1] : NULL;
        if (!flag.value && next && !listed(GLOBAL_SWITCHES, flag.name, flag.length) &&
            (listed(GLOBAL_VALUES, flag.name, flag.length) || (!is_flag(next) && !listed(VERBS, next, strlen(next))))) {
            flag.value = next;
            at++;
        }
        if (named(flag, "root"))
            call->root = flag.value;
        else if (named(flag, "log"))
            call->log = flag.value;
        else if (named(flag, "log-format"))
            call->log_format = flag.value;
    }
    return at;
}

static const char *const EXEC_VALUES[] = {"console-socket", "cwd", "env", "e", "user", "u", "additional-gids", "g",
                                          "process", "p", "pid-file", "pidfd-socket", "process-label", "apparmor",
                                          "cap", "c", "preserve-fds", "cgroup", NULL};
static const char *const EXEC_SWITCHES[] = {"tty", "t", "detach", "d", "no-new-privs", "ignore-paused", "help", "h",
                                            "usage", NULL};

static bool names_process(struct flag flag) { return named(flag, "process") || named(flag, "p"); }

/* Go's flags may have one dash and a long name; crun takes short ones in one word, with a value at the end: -dpFILE. */
static struct flag split_exec_flag(const char *word)
{
    struct flag flag = split_flag(word);
    const char *last = word + 1 + strspn(word + 1, "d");
    if (word[1] == '-' || listed(EXEC_VALUES, flag.name, flag.length) ||
        listed(EXEC_SWITCHES, flag.name, flag.length) || !*last || !strchr("cegptu", *last))
        return flag;
    return (struct flag){last, last[1] ? last + 1 : NULL, 1};
}

/*
 * Whether argv[at] is the value of the flag before it. One that neither runc nor crun has today, or that crun's caller
 * abbreviated, may or may not take it: it does if it leaves a process file and an id, behind which no command stands.
 */
static bool is_exec_value(const struct call *call, struct flag flag, int at, int argc, char **argv)
{
    if (at >= argc || flag.value || listed(EXEC_SWITCHES, flag.name, flag.length))
        return false;
    if (listed(EXEC_VALUES, flag.name, flag.length))
        return true;
    bool process = call->process != NULL;
    for (int later = at + 1; later < argc && !process; later++)
        process = is_flag(argv[later]) && names_process(split_exec_flag(argv[later]));
    return process && !is_flag(argv[at]) && at + 1 < argc;
}

/* Reads what stands behind `exec` as far as the container id; the rest is somebody's command. */
static void read_exec_arguments(struct call *call, int at, int argc, char **argv)
{
    for (; at < argc && is_flag(argv[at]); at++) {
        if (strcmp(argv[at], "--") == 0) {
            at++;
            break;
        }
        struct flag flag = split_exec_flag(argv[at]);
        if (is_exec_value(call, flag, at + 1, argc, argv))
            flag.value = argv[++at];
        if (names_process(flag))
            call->process = flag.value;
        else if (named(flag, "help") || named(flag, "h"))
            call->asks_help = true;
    }
    call->id = at < argc ? argv[at] : NULL;
}

static bool takes_value(const struct call *call, struct flag flag)
{
    return strcmp(call->verb, "delete") != 0 && (listed(VERB_VALUES, flag.name, flag.length) ||
                                                 abbreviates(flag, "bundle", 1) || abbreviates(flag, "config", 4));
}

/* Reads what stands behind `create`, `run` or `delete`, where flags and the one container id come in any order. */
static void read_verb_arguments(struct call *call, int at, int argc, char **argv)
{
    bool flags_ended = false;
    for (; at < argc; at++) {
        const char *word = argv[at];
        if (flags_ended || !is_flag(word)) {
            call->id = word; /* the last word: an unknown flag's value, if any, stands before it */
            continue;
        }
        if (strcmp(word, "--") == 0) {
            flags_ended = true;
            continue;
        }
        struct flag flag = split_flag(word);
        if (word[1] == 'b' && flag.length > 1 && !named(flag, "bundle")) {
            call->bundle = word + 2; /* -bDIR, as crun takes it; runc refuses it */
            continue;
        }
        if (!flag.value && takes_value(call, flag) && at + 1 < argc)
            flag.value = argv[++at];
        if (abbreviates(flag, "bundle", 1))
            call->bundle = flag.value;
        else if (abbreviates(flag, "config", 4) || word[1] == 'f')
            call->foreign_config = true;
        else if (named(flag, "help") || named(flag, "h"))
            call->asks_help = true;
    }
}

/* ---- the agent ---- */

struct deadline {
    struct timespec end;
};

static struct deadline deadline_in(long ms)
{
    struct deadline deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline.end);
    deadline.end.tv_sec += ms / 1000;
    deadline.end.tv_nsec += ms % 1000 * 1000000L;
    if (deadline.end.tv_nsec >= 1000000000L) {
        deadline.end.tv_sec++;
        deadline.end.tv_nsec -= 1000000000L;
    }
    return deadline;
}

static long long remaining_us(const struct deadline *deadline)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)(deadline->end.tv_sec - now.tv_sec) * 1000000LL + (deadline->end.tv_nsec - now.tv_nsec) / 1000;
}

/* Lets the next wait on `file` last until the deadline at most; false when it has passed. */
static bool limit_wait(int file, int direction, const struct deadline *deadline)
{
    long long us = remaining_us(deadline);
    if (us <= 0)
        return false;
    struct timeval wait = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    return setsockopt(file, SOL_SOCKET, direction, &wait, sizeof wait) == 0;
}

struct request {
    char bytes[REQUEST_MAX];
    size_t length;
};

static bool add_field(struct request *request, const char *text)
{
    size_t size = strlen(text) + 1;
    if (size > sizeof request->bytes - request->length)
        return false;
    memcpy(request->bytes + request->length, text, size);
    request->length += size;
    return true;
}

static int open_socket(const struct settings *settings, struct sockaddr_un *address, int flags)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    copy_text(address->sun_path, sizeof address->sun_path, settings->socket);
    return above_stdio(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

enum outcome { ANSWERED, BROKE_OFF, AWAY, LATE, FORBIDDEN };

/* FORBIDDEN leaves the reason in errno. */
static enum outcome connect_to_agent(int agent, const struct sockaddr_un *address, const struct deadline *deadline)
{
    for (;;) {
        if (!limit_wait(agent, SO_SNDTIMEO, deadline))
            return LATE;
        if (connect(agent, (const struct sockaddr *)address, sizeof *address) == 0)
            return ANSWERED;
        if (errno == EAGAIN) /* its queue stayed full until the deadline */
            return LATE;
        if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
            return AWAY;
        if (errno != EINTR)
            return FORBIDDEN;
    }
}

static enum outcome send_request(int agent, const struct request *request, const struct deadline *deadline)
{
    size_t sent = 0;
    while (sent < request->length) {
        if (!limit_wait(agent, SO_SNDTIMEO, deadline))
            return LATE;
        ssize_t done = send(agent, request->bytes + sent, request->length - sent, MSG_NOSIGNAL);
        if (done > 0)
            sent += (size_t)done;
        else if (done < 0 && errno == EAGAIN)
            return LATE;
        else if (done < 0 && errno != EINTR)
            break; /* it may have answered and closed already: the answer says more than this error */
    }
    shutdown(agent, SHUT_WR);
    return ANSWERED;
}

/* Reads to the end of the line, or of the stream; `answer` is then a text. Who answered closes in its own time. */
static enum outcome read_answer(int agent, char *answer, size_t size, const struct deadline *deadline)
{
    size_t length = 0;
    while (length < size - 1) {
        if (!limit_wait(agent, SO_RCVTIMEO, deadline))
            return LATE;
        ssize_t got = recv(agent, answer + length, size - 1 - length, 0);
        if (got > 0)
            length += (size_t)got;
        else if (got < 0 && errno == EAGAIN)
            return LATE;
        else if (got == 0 || errno != EINTR)
            break;
        if (got > 0 && answer[length - 1] == '\n')
            break;
    }
    answer[length] = '\0';
    return length > 0 ? ANSWERED : BROKE_OFF;
}

static enum outcome ask_once(const struct settings *settings, const struct request *request,
                             const struct deadline *deadline, char *answer, size_t size)
{
    struct sockaddr_un address;
    int agent = open_socket(settings, &address, 0);
    if (agent < 0)
        return FORBIDDEN;
    enum outcome outcome = connect_to_agent(agent, &address, deadline);
    if (outcome == ANSWERED)
        outcome = send_request(agent, request, deadline);
    if (outcome == ANSWERED)
        outcome = read_answer(agent, answer, size, deadline);
    int problem = errno;
    close(agent);
    errno = problem;
    return outcome;
}

/* What is asked, and how long it may take: in all, and until an agent that is away is there. */
struct question {
    const char *verb, *path, *id, *root;
    long deadline_ms, patience_ms;
};

static bool compose(struct request *request, const struct question *question, long deadline_ms)
{
    char number[24];
    snprintf(number, sizeof number, "%ld", deadline_ms);
    request->length = 0;
    return add_field(request, "floxbridge/1") && add_field(request, question->verb) &&
           add_field(request, question->path) && add_field(request, question->id) && add_field(request, number) &&
           (!question->root || !*question->root || add_field(request, question->root));
}

static enum outcome ask(const struct settings *settings, const struct question *question, char *answer, size_t size)
{
    static struct request request;
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    struct deadline deadline = deadline_in(question->deadline_ms), patience = {0};
    enum outcome outcome = BROKE_OFF, before;

    if (!compose(&request, question, question->deadline_ms)) {
        errno = ENAMETOOLONG;
        return FORBIDDEN;
    }
    for (int broke_off = 0;;) {
        before = outcome;
        outcome = ask_once(settings, &request, &deadline, answer, size);
        if (outcome == AWAY && before != AWAY)
            patience = deadline_in(question->patience_ms);
        if ((outcome != AWAY || remaining_us(&patience) <= 0) &&
            (outcome != BROKE_OFF || broke_off++ == ASKED_AGAIN_MAX))
            return outcome;
        nanosleep(&pause, NULL);
        long remaining_ms = (long)(remaining_us(&deadline) / 1000);
        if (remaining_ms < 1)
            return outcome;
        compose(&request, question, remaining_ms);
    }
}

/* Comes back when the agent said ok, and not otherwise. */
static void ask_to_create(const struct call *call, const struct settings *settings)
{
    static char answer[SENTENCE_MAX + 16];
    char bundle[PATH_MAX];
    const char *named_bundle = call->bundle && *call->bundle ? call->bundle : "."; /* as runc has it */

    if (settings->problem[0])
        fail(call, "floxbridge launcher settings: %s", settings->problem);
    if (call->foreign_config)
        fail(call, "floxbridge: %s --config is not supported: the environment goes into the bundle's own config.json",
             call->verb);
    if (!realpath(named_bundle, bundle))
        fail(call, "floxbridge: bundle %.3000s: %s", named_bundle, strerror(errno));

    struct question question = {"create", bundle, call->id, call->root, settings->deadline_ms, CREATE_PATIENCE_MS};
    switch (ask(settings, &question, answer, sizeof answer)) {
    case AWAY:
        fail(call,
             "floxbridge agent does not answer at %s: start it with 'floxbridge-node agent' or see "
             "'journalctl -u floxbridge-node'",
             settings->socket);
    case LATE:
        fail(call,
             "floxbridge agent at %s has not answered within %ld ms: see 'journalctl -u floxbridge-node'; "
             "the container is tried again",
             settings->socket, settings->deadline_ms);
    case FORBIDDEN:
        fail(call, "floxbridge agent at %s cannot be asked by uid %ld: %s", settings->socket, (long)geteuid(),
             strerror(errno));
    case BROKE_OFF:
    case ANSWERED:
        break;
    }
    if (strcmp(answer, "ok\n") == 0)
        return;
    size_t length = strlen(answer);
    if (length > 7 && strncmp(answer, "error ", 6) == 0 && answer[length - 1] == '\n') {
        answer[length - 1] = '\0';
        fail(call, "%s", answer + 6);
    }
    fail(call, "floxbridge agent at %s broke off without an answer: see 'journalctl -u floxbridge-node'",
         settings->socket);
}

/* The agent puts the environment into the process file. Whatever comes of it, the exec goes on. */
static void tell_exec(const struct call *call, const struct settings *settings)
{
    static char answer[SENTENCE_MAX + 16];
    char process[PATH_MAX];
    long deadline_ms = settings->deadline_ms < EXEC_DEADLINE_MS ? settings->deadline_ms : EXEC_DEADLINE_MS;
    struct question question = {"exec", process, call->id, call->root, deadline_ms, EXEC_PATIENCE_MS};
    if (realpath(call->process, process))
        ask(settings, &question, answer, sizeof answer);
}

/* Waits for nothing and cannot fail: an agent that misses it finds the bundle gone when it looks itself. */
static void tell_deleted(const struct call *call, const struct settings *settings)
{
    static struct request request;
    struct sockaddr_un address;
    if (!add_field(&request, "floxbridge/1") || !add_field(&request, "delete") || !add_field(&request, call->id))
        return;
    int agent = open_socket(settings, &address, SOCK_NONBLOCK);
    if (agent < 0)
        return;
    if (connect(agent, (struct sockaddr *)&address, sizeof address) == 0)
        (void)!send(agent, request.bytes, request.length, MSG_NOSIGNAL);
    close(agent);
}

/* ---- the runtime ---- */

static bool is_this_program(const char *path)
{
    struct stat self, other;
    return stat("/proc/self/exe", &self) == 0 && stat(path, &other) == 0 && self.st_dev == other.st_dev &&
           self.st_ino == other.st_ino;
}

/* Looks a bare name up in RUNTIME_PATH, passing over this program: it may be installed as `runc` before the real one. */
static bool find_runtime(const char *name, char *path, size_t size)
{
    static const char folders[] = RUNTIME_PATH;
    for (const char *at = folders; *at;) {
        size_t length = strcspn(at, ":");
        int wrote = snprintf(path, size, "%.*s/%s", (int)length, at, name);
        if (wrote > 0 && (size_t)wrote < size && access(path, X_OK) == 0 && !is_this_program(path))
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}

__attribute__((noreturn)) static void run_runtime(const struct call *call, const struct settings *settings, char **argv)
{
    char path[PATH_MAX];
    copy_text(path, sizeof path, settings->runtime);
    if (settings->runtime[0] != '/' && !find_runtime(settings->runtime, path, sizeof path))
        fail(call, "floxbridge: there is no runtime '%.255s' in %s: install it or set runtime= in %s", settings->runtime,
             RUNTIME_PATH, CONF_PATH);
    if (is_this_program(path))
        fail(call, "floxbridge: runtime=%.3000s is the floxbridge launcher itself: name the real runc or crun", path);
    argv[0] = path; /* crun and runc look at their own name */
    execv(path, argv);
    fail(call, "floxbridge: runtime %.3000s cannot be started: %s", path, strerror(errno));
}

int main(int argc, char **argv)
{
    static struct settings settings;
    struct call call = {0};
    char *no_arguments[] = {"floxbridge-runc", NULL};

    read_settings(&settings);
    if (argc < 1)
        argv = no_arguments;
    int at = read_global_flags(&call, argc, argv);
    if (at < argc) {
        call.verb = argv[at];
        bool creates = strcmp(call.verb, "create") == 0 || strcmp(call.verb, "run") == 0;
        bool deletes = strcmp(call.verb, "delete") == 0, executes = strcmp(call.verb, "exec") == 0;
        if (creates || deletes)
            read_verb_arguments(&call, at + 1, argc, argv);
        if (executes)
            read_exec_arguments(&call, at + 1, argc, argv);
        if (call.id && !call.asks_help && creates) /* without an id runc says itself what it wants */
            ask_to_create(&call, &settings);
        if (call.id && !call.asks_help && executes && call.process)
            tell_exec(&call, &settings);
        if (call.id && !call.asks_help && deletes)
            tell_deleted(&call, &settings);
    }
    run_runtime(&call, &settings, argv);
}
