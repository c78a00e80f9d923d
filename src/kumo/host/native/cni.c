/* kumo-cni: the CNI plugin that containerd calls. It hands the call to the node's agent and hands back the answer.
 *
 * Called as "kumo-cni": the network configuration on stdin names the agent's unix socket ("socket"). The request is the
 * CNI_* environment as lines, an empty line, and the configuration; the answer is the exit code as one character, a
 * newline, and what goes to stdout. VERSION is answered here, for it comes without a socket.
 * Called as "loopback" (containerd before 2.0 wants a plugin of that name): sets lo up in the namespace, nothing else.
 *
 * Static, without an allocation, because it runs at every start and end of a pod.
 * CNI specification 1.0.0, sections 2 and 3; error codes below 100 are the specification's (11: try again later).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CONFIG_MAX (1 << 20)
#define AGENT_TIMEOUT_SECONDS 60

extern char **environ;

static char config[CONFIG_MAX + 1];
static char answer[CONFIG_MAX + 1];

/* The string value of a key of the configuration, found without a parser: our own agent writes the file, and values
 * that matter hold no escapes. Returns 0 when the key is missing or the value does not fit. */
static int string_value(const char *key, char *value, size_t size)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *at = strstr(config, quoted);
    if (!at)
        return 0;
    at += strlen(quoted);
    at += strspn(at, " \t\r\n:");
    if (*at++ != '"')
        return 0;
    size_t length = strcspn(at, "\"");
    if (length == 0 || length >= size)
        return 0;
    memcpy(value, at, length);
    value[length] = 0;
    return 1;
}

static int fail(int code, const char *what, const char *details)
{
    char version[32];
    if (!string_value("cniVersion", version, sizeof version))
        strcpy(version, "1.0.0");
    printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\",\"details\":\"%s\"}\n", version, code, what, details);
    return 1;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        data += written;
        size -= written;
    }
    return 0;
}

/* Reads until the end or until the buffer is full; the number of bytes, or -1. */
static ssize_t read_all(int fd, char *data, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(fd, data + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += n;
    }
    return got;
}

/* A socket's path may be longer than an address holds (107 bytes): go to its directory and name it from there. */
static int dial(char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *slash = strrchr(path, '/');
    const char *name = path;
    if (slash && slash != path) {
        *slash = 0;
        int failed = chdir(path);
        *slash = '/';
        if (failed)
            return -1;
        name = slash + 1;
    }
    if (strlen(name) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int forward(void)
{
    char path[4096];
    if (!string_value("socket", path, sizeof path))
        return fail(7, "the network configuration names no socket", "");
    int agent = dial(path);
    if (agent < 0)
        return fail(11, "kumo's node agent is not running", strerror(errno));
    struct timeval limit = {.tv_sec = AGENT_TIMEOUT_SECONDS};
    setsockopt(agent, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    for (char **entry = environ; *entry; entry++)
        if (!strncmp(*entry, "CNI_", 4) && !strchr(*entry, '\n'))
            if (write_all(agent, *entry, strlen(*entry)) || write_all(agent, "\n", 1))
                return fail(11, "kumo's node agent hung up", strerror(errno));
    if (write_all(agent, "\n", 1) || write_all(agent, config, strlen(config)) || shutdown(agent, SHUT_WR))
        return fail(11, "kumo's node agent hung up", strerror(errno));
    ssize_t got = read_all(agent, answer, CONFIG_MAX);
    if (got < 2 || answer[1] != '\n')
        return fail(11, "kumo's node agent gave no answer", got < 0 ? strerror(errno) : "");
    if (write_all(STDOUT_FILENO, answer + 2, got - 2))
        return 1;
    return answer[0] == '0' ? 0 : 1;
}

static int loopback(const char *command)
{
    if (!strcmp(command, "ADD")) {
        const char *path = getenv("CNI_NETNS");
        int ns = open(path ? path : "", O_RDONLY | O_CLOEXEC);
        if (ns < 0 || setns(ns, CLONE_NEWNET))
            return fail(4, "can't enter the network namespace", strerror(errno));
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq request = {.ifr_name = "lo"};
        if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request))
            return fail(5, "can't read the state of lo", strerror(errno));
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request))
            return fail(5, "can't set lo up", strerror(errno));
    }
    if (!strcmp(command, "ADD")) {
        char version[32];
        if (!string_value("cniVersion", version, sizeof version))
            strcpy(version, "0.3.1");
        printf("{\"cniVersion\":\"%s\",\"interfaces\":[{\"name\":\"lo\",\"mac\":\"00:00:00:00:00:00\","
               "\"sandbox\":\"%s\"}],\"ips\":[{%s\"interface\":0,\"address\":\"127.0.0.1/8\"}],\"dns\":{}}\n",
               version, getenv("CNI_NETNS"), version[0] == '0' ? "\"version\":\"4\"," : "");
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *command = getenv("CNI_COMMAND");
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "";
    ssize_t got = read_all(STDIN_FILENO, config, CONFIG_MAX);
    if (got < 0)
        return fail(5, "can't read the network configuration", strerror(errno));
    config[got] = 0;
    if (!command)
        return fail(4, "CNI_COMMAND is not set; this program is called by a container runtime", "");
    if (!strcmp(command, "VERSION")) {
        puts("{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\"]}");
        return 0;
    }
    return strcmp(name, "loopback") ? forward() : loopback(command);
}
