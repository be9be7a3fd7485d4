// Makes the N-th change of the file system below a folder fail, or kills the process in its place.
//
// Loaded by LD_PRELOAD, idle until `faults_arm` is called. Counted are: opening for writing, writing, syncing, renaming,
// linking and making folders. All other threads' changes count, too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define RECORD_BYTES 4096

static char root[4096];
static char *record;             // a mapped file: it outlives a kill
static long strikes_at;          // the change that fails, from 1; 0 = only count
static int error_number;         // 0 = SIGKILL instead of an error
static int lasting;              // later changes fail as well, as on a full disk
static atomic_long changes;

// Returns 0, or -1 if the file cannot be mapped. `file` must have RECORD_BYTES bytes.
int faults_arm(const char *below, const char *file, long at, int error, int lasts) {
    int descriptor = open(file, O_RDWR);
    record = mmap(NULL, RECORD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (record == MAP_FAILED) return -1;
    strikes_at = at, error_number = error, lasting = lasts;
    strncpy(root, below, sizeof root - 1);
    return 0;
}

long faults_count(void) { return changes; }

static int is_below(const char *path) { return root[0] && strncmp(path, root, strlen(root)) == 0; }

static int is_file_below(int descriptor) {
    if (!root[0]) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path) ? 1 : 0;
}

// Counts a change. Returns 0 if it may happen, 1 if it is the first to fail, and 2 if a later one fails.
static int strikes(const char *what, const char *path) {
    long number = atomic_fetch_add(&changes, 1) + 1;
    if (!strikes_at || number < strikes_at || (number > strikes_at && !lasting)) return 0;
    if (number == strikes_at) snprintf(record, RECORD_BYTES, "%s %s", what, path + strlen(root));
    if (!error_number) {
        raise(SIGKILL);
        pause();
    }
    errno = error_number;
    return number == strikes_at ? 1 : 2;
}

static int strikes_file(const char *what, int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return strikes(what, length < 0 ? root : path);
}

#define ORIGINAL(type, name, ...) \
    static type (*original)(__VA_ARGS__); \
    if (!original) original = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int changes_files(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        ORIGINAL(int, #name, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        if (changes_files(flags) && is_below(path) && strikes("open", path)) return -1; \
        return original(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

// A disk that fills up takes the first half of what is written, so a line is torn.
#define WRITE(name, parameters, values) \
    ssize_t name parameters { \
        ORIGINAL(ssize_t, #name, int, const void *, size_t, ...); \
        if (is_file_below(descriptor)) { \
            int struck = strikes_file("write", descriptor); \
            if (struck == 1 && lasting && bytes > 1) { \
                bytes /= 2; \
                return original values; \
            } \
            if (struck) return -1; \
        } \
        return original values; \
    }
WRITE(write, (int descriptor, const void *content, size_t bytes), (descriptor, content, bytes))
WRITE(pwrite, (int descriptor, const void *content, size_t bytes, off_t at), (descriptor, content, bytes, at))
WRITE(pwrite64, (int descriptor, const void *content, size_t bytes, off_t at), (descriptor, content, bytes, at))

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    ORIGINAL(ssize_t, "writev", int, const struct iovec *, int);
    if (is_file_below(descriptor) && strikes_file("write", descriptor)) return -1;
    return original(descriptor, parts, count);
}

int fsync(int descriptor) {
    ORIGINAL(int, "fsync", int);
    if (is_file_below(descriptor) && strikes_file("fsync", descriptor)) return -1;
    return original(descriptor);
}

int rename(const char *from, const char *to) {
    ORIGINAL(int, "rename", const char *, const char *);
    if (is_below(to) && strikes("rename", to)) return -1;
    return original(from, to);
}

int link(const char *from, const char *to) {
    ORIGINAL(int, "link", const char *, const char *);
    if (is_below(to) && strikes("link", to)) return -1;
    return original(from, to);
}

int mkdir(const char *path, mode_t mode) {
    ORIGINAL(int, "mkdir", const char *, mode_t);
    if (is_below(path) && strikes("mkdir", path)) return -1;
    return original(path, mode);
}
