// Which instruction set runs: chosen once, from what the processor and the operating system
// support, from ALEXNET_ISA, or by set_isa.

#ifndef ALEXNET_CPU_DISPATCH_H_
#define ALEXNET_CPU_DISPATCH_H_

#include <string>
#include <vector>

#include "microkernels/kernels.h"

namespace alexnet::cpu {

// The micro-kernels in use. A driver asks once per call and passes the reference on.
const KernelTable& kernels();

// Names that this machine can run, the best first; "portable" is always the last.
std::vector<std::string> available_isas();

// Throws std::invalid_argument for a name that is unknown, not built in, or not supported here.
void set_isa(const std::string& name);

// Applies ALEXNET_ISA where it is set and not empty; throws like set_isa.
void set_isa_from_environment();

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_DISPATCH_H_
