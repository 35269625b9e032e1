// The correlation of direct_correlation.h for depthwise convolution and narrow groups.

#ifndef ALEXNET_CPU_DEPTHWISE_CORRELATION_H_
#define ALEXNET_CPU_DEPTHWISE_CORRELATION_H_

#include "depthwise_rows.h"
#include "direct_correlation.h"

namespace alexnet::cpu::depthwise {

// As direct::correlate, but for the panels: blocks() of the channels of all groups, whose packed
// row of product (tap, c) has, for each channel, the weight of the c-th input of its group.
void correlate(const KernelTable& k, const direct::Correlation& correlation, int threads);

}  // namespace alexnet::cpu::depthwise

#endif  // ALEXNET_CPU_DEPTHWISE_CORRELATION_H_
