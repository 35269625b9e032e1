#include "cpu_quota.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

namespace alexnet::cpu {
namespace {

constexpr long long kMostProcessors = std::numeric_limits<int>::max();

struct Quota {
    long long microseconds = -1, period = 0;  // -1: not limited

    int processors() const {  // 0: not limited
        if (microseconds <= 0 || period <= 0) return 0;
        const long long whole = microseconds / period + (microseconds % period != 0);
        return static_cast<int>(std::min(whole, kMostProcessors));
    }
};

// Version 2: "max 100000" or "150000 100000".
Quota quota_of_version_2(const std::string& folder) {
    std::ifstream file(folder + "/cpu.max");
    Quota quota;
    if (!(file >> quota.microseconds >> quota.period)) return Quota();
    return quota;
}

// Version 1: a file for each number, the quota -1 where there is none.
Quota quota_of_version_1(const std::string& folder) {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
    std::ifstream period_file(folder + "/cpu.cfs_period_us");
    Quota quota;
    if (!(quota_file >> quota.microseconds) || !(period_file >> quota.period)) return Quota();
    return quota;
}

bool lists(const std::string& words, const std::string& word) {
    return ("," + words + ",").find("," + word + ",") != std::string::npos;
}

// mountinfo writes blanks and backslashes of a path as three octal digits.
std::string unescaped(const std::string& text) {
    std::string path;
    for (size_t i = 0; i < text.size(); ++i) {
        const auto digit = [&](size_t at) { return at < text.size() ? text[at] - '0' : -1; };
        const int high = digit(i + 1), middle = digit(i + 2), low = digit(i + 3);
        const auto octal = [](int value) { return value >= 0 && value < 8; };
        if (text[i] == '\\' && octal(high) && octal(middle) && octal(low)) {
            path += static_cast<char>(high * 64 + middle * 8 + low);
            i += 3;
        } else {
            path += text[i];
        }
    }
    return path;
}

// Where a hierarchy of groups is mounted: the group `root` of it, and those below, are at `point`.
struct Mount {
    bool version_2 = false;
    std::string root, point;
};

// A line of /proc/self/mountinfo: number, parent, device, root, mount point, options, any number of
// optional fields, "-", kind of file system, source, options of the file system. False where it is
// no hierarchy that can limit processors.
bool parse_mount(const std::string& line, Mount& mount) {
    std::istringstream words(line);
    std::string word, root, point, kind, source, options;
    words >> word >> word >> word >> root >> point;
    while (words >> word && word != "-") {
    }
    words >> kind >> source >> options;
    mount = {kind == "cgroup2", unescaped(root), unescaped(point)};
    return kind == "cgroup2" || (kind == "cgroup" && lists(options, "cpu"));
}

// The process's own group, below the root of its hierarchy: /proc/self/cgroup has lines such as
// "4:cpu,cpuacct:/a/b", and "0::/a/b" for version 2.
std::string own_group(const std::string& root, bool version_2) {
    std::ifstream file(root + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        const size_t first = line.find(':');
        const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (version_2 ? controllers.empty() : lists(controllers, "cpu")) {
            return line.substr(second + 1);
        }
    }
    return "/";
}

// The own group and all that it is in, as far as they are mounted. A container may see the path
// that its group has outside, of which only the part below the mounted group is there.
std::vector<std::string> groups(const Mount& mount, const std::string& group) {
    const std::string mounted = mount.root == "/" ? "" : mount.root;
    const bool inside = (group + "/").rfind(mounted + "/", 0) == 0;
    std::string below = inside ? group.substr(mounted.size()) : "";
    if ((below + "/").find("/../") != std::string::npos) below.clear();  // not below the mount
    std::vector<std::string> paths;
    while (!below.empty()) {
        if (below.back() != '/') paths.push_back(below);
        below.resize(std::min(below.rfind('/'), below.size() - 1));
    }
    paths.push_back("");
    return paths;
}

}  // namespace

int cpu_quota(const std::string& root) {
    int smallest = 0;
    std::ifstream mounts(root + "/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        Mount mount;
        if (!parse_mount(line, mount)) continue;
        for (const std::string& group : groups(mount, own_group(root, mount.version_2))) {
            const std::string folder = root + mount.point + group;
            const Quota quota =
                mount.version_2 ? quota_of_version_2(folder) : quota_of_version_1(folder);
            const int processors = quota.processors();
            if (processors > 0 && (smallest == 0 || processors < smallest)) smallest = processors;
        }
    }
    return smallest;
}

}  // namespace alexnet::cpu
