// The correlation of direct_correlation.h where there are few channels to compute: vectors run over
// the pixels of a row instead.

#ifndef ALEXNET_CPU_PLANAR_CORRELATION_H_
#define ALEXNET_CPU_PLANAR_CORRELATION_H_

#include "direct_correlation.h"

namespace alexnet::cpu::planar {

// Whether lanes over pixels do clearly more of the work than lanes over the channels of the panel.
// Asks for one group, steps of one column, no bias and no ReLU, as the gradient of the input has
// them, and for sums no longer than one chain.
bool suits(const KernelTable& k, const direct::Correlation& correlation);

// As direct::correlate; panels.count == 1.
void correlate(const KernelTable& k, const direct::Correlation& correlation, int threads);

}  // namespace alexnet::cpu::planar

#endif  // ALEXNET_CPU_PLANAR_CORRELATION_H_
