// Which instruction set runs: chosen once, from what the processor and the operating system
// support, from ALEXNET_ISA, or by set_isa.

#ifndef ALEXNET_CPU_DISPATCH_H_
#define ALEXNET_CPU_DISPATCH_H_

#include <string>
#include <vector>

#include "microkernels/kernels.h"

namespace alexnet::cpu {

// The micro-kernels in use. A driver asks once per call and passes the reference on. The first call
// chooses them, and throws std::invalid_argument if ALEXNET_ISA names none that can run here.
const KernelTable& kernels();

// Names that this machine can run, the best first; "portable" is always the last.
std::vector<std::string> available_isas();

// Throws std::invalid_argument for a name that is unknown, not built in, or not supported here.
void set_isa(const std::string& name);

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_DISPATCH_H_
