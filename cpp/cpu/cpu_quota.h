// The share of the processors that the control groups of Linux ("cgroups"; a container is one) let
// this process use.

#ifndef ALEXNET_CPU_CPU_QUOTA_H_
#define ALEXNET_CPU_CPU_QUOTA_H_

#include <string>

namespace alexnet::cpu {

// As many processors as the process may keep busy at once, rounded up: the smallest quota of its
// control groups and all groups that they are in, or 0 where none is set. `root` stands before the
// path of every file that is read.
//
// Rounded up, because the system stops all threads of a group alike once they have used its time:
// two threads use the whole of a quota of 1.5, one thread would leave a third of it.
int cpu_quota(const std::string& root = "");

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_CPU_QUOTA_H_
